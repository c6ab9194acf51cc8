//! The bytes of a disk, in blocks that copies share until a block is written.

use std::collections::BTreeMap;
use std::sync::Arc;

const BLOCK_BYTES: usize = 4096;

type Block = [u8; BLOCK_BYTES];

/// Bytes from 0 up to a length. Bytes that were never written are zero and use no memory.
#[derive(Clone, Debug, Default)]
pub(super) struct CowBlocks {
    len: u64,
    blocks: BTreeMap<u64, Arc<Block>>,
}

impl CowBlocks {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Truncates the contents, or extends them with zeros.
    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let kept = len.div_ceil(BLOCK_BYTES as u64);
            self.blocks.split_off(&kept);
            let within = (len % BLOCK_BYTES as u64) as usize;
            if let Some(last) = self.blocks.get_mut(&(len / BLOCK_BYTES as u64)).filter(|_| within > 0) {
                Arc::make_mut(last)[within..].fill(0);
            }
        }
        self.len = len;
    }

    pub(super) fn read(&self, offset: u64, out: &mut [u8]) {
        for_each_block(offset, out.len(), |block, within, piece| {
            let len = piece.len();
            match self.blocks.get(&block) {
                Some(bytes) => out[piece].copy_from_slice(&bytes[within..within + len]),
                None => out[piece].fill(0),
            }
        });
    }

    /// Writes bytes, and extends the contents if needed.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        for_each_block(offset, bytes.len(), |block, within, piece| {
            let into = self.blocks.entry(block).or_insert_with(|| Arc::new([0; BLOCK_BYTES]));
            let len = piece.len();
            Arc::make_mut(into)[within..within + len].copy_from_slice(&bytes[piece]);
        });
        self.len = self.len.max(offset + bytes.len() as u64);
    }

    pub(super) fn flip_bit(&mut self, bit: u64) {
        let mut byte = [0];
        self.read(bit / 8, &mut byte);
        self.write(bit / 8, &[byte[0] ^ (1 << (bit % 8))]);
    }
}

/// Calls `visit` for each block that the bytes at `offset` touch, with the number of the block, the offset in
/// it, and the range of the bytes.
fn for_each_block(offset: u64, len: usize, mut visit: impl FnMut(u64, usize, std::ops::Range<usize>)) {
    let mut done = 0;
    while done < len {
        let at = offset + done as u64;
        let within = (at % BLOCK_BYTES as u64) as usize;
        let next = (done + BLOCK_BYTES - within).min(len);
        visit(at / BLOCK_BYTES as u64, within, done..next);
        done = next;
    }
}
