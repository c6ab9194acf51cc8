//! Extended attributes and access control lists. A rewritten file is a new inode, so they are copied.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fsetxattr};
use rustix::io::Errno;

/// The longest list of names, and the longest value, that Linux has for one file, in bytes.
const MAX_ATTRIBUTE_BYTES: usize = 64 << 10;

/// Attributes that describe the contents of a file. They are wrong for other contents.
const CONTENT_ATTRIBUTES: [&[u8]; 2] = [b"security.ima", b"security.evm"];

/// Copies the extended attributes, and with them the access control list, to another open file.
pub(super) fn copy_attributes(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    let mut names = vec![0; MAX_ATTRIBUTE_BYTES];
    let length = match flistxattr(&from, names.as_mut_slice()) {
        // The file system has no attributes.
        Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(()),
        listed => listed?,
    };
    names.truncate(length);
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    for name in names.filter(|name| !CONTENT_ATTRIBUTES.contains(name)) {
        let Some(value) = read_attribute(&from, name)? else { continue };
        if read_attribute(&to, name)?.as_ref() != Some(&value) {
            fsetxattr(&to, name, &value, XattrFlags::empty())?;
        }
    }
    Ok(())
}

fn read_attribute(file: impl AsFd, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0; MAX_ATTRIBUTE_BYTES];
    match fgetxattr(file, name, value.as_mut_slice()) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(Errno::NODATA) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
