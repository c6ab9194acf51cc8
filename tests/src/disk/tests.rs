use super::*;

fn contents(disk: &FaultyDisk) -> Vec<u8> {
    disk.bytes()
}

#[test]
fn synced_data_survives_and_unsynced_data_may_be_lost_or_torn() {
    let disk = FaultyDisk::new();
    disk.write(0, &[1; 1024]).unwrap();
    disk.sync_data().unwrap();
    disk.write(512, &[2; 1024]).unwrap();
    assert_eq!(disk.operations(), 3);
    assert_eq!(contents(&disk.after_crash(CrashOutcome::Nothing, 0)), [1; 1024]);
    assert_eq!(
        contents(&disk.after_crash(CrashOutcome::Everything, 0)),
        [[1; 512], [2; 512], [2; 512]].concat()
    );
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..100 {
        for survival in [CrashOutcome::Prefix, CrashOutcome::Sectors, CrashOutcome::Junk] {
            let found = contents(&disk.after_crash(survival, seed));
            assert_eq!(found[..512], [1; 512], "what is synced and not written again is never touched");
            assert!(found[512..1024] == [1; 512] || found[512..1024] == [2; 512], "a sector is whole");
            assert_eq!(found, contents(&disk.after_crash(survival, seed)), "a seed gives one disk");
            seen.insert(found);
        }
    }
    assert!(seen.len() > 10, "chance has its say: {}", seen.len());
}

#[test]
fn a_failed_sync_loses_pending_writes_though_reads_show_them() {
    let disk = FaultyDisk::new();
    disk.fail_at(2, DiskFault::Full, FaultDuration::Once);
    disk.write(0, b"lost").unwrap();
    assert_eq!(disk.sync_data().unwrap_err().kind(), io::ErrorKind::StorageFull);
    disk.sync_data().unwrap();
    assert_eq!(contents(&disk), b"lost");
    assert_eq!(contents(&disk.after_crash(CrashOutcome::Everything, 0)), b"");
}

#[test]
fn faults_last_for_their_configured_duration() {
    let disk = FaultyDisk::new();
    disk.fail_at(1, DiskFault::Io, FaultDuration::UntilCleared);
    for _ in 0..3 {
        assert!(disk.write(0, b"x").is_err());
    }
    disk.clear_faults();
    disk.write(0, b"x").unwrap();
    disk.crash_at(5);
    disk.set_len(10).unwrap_err();
    assert!(disk.write(0, b"y").is_err() && disk.read(0, &mut [0]).is_err());
    assert_eq!(contents(&disk.after_crash(CrashOutcome::Everything, 0)).len(), 10, "it was in flight");
    assert_eq!(contents(&disk.after_crash(CrashOutcome::Nothing, 0)).len(), 0);
}

#[test]
fn damage_changes_synced_data_in_a_copy_only() {
    let disk = FaultyDisk::from_bytes(&[7; 5000]);
    let differing = |found: &FaultyDisk| contents(found).iter().filter(|byte| **byte != 7).count();
    assert_eq!(differing(&disk.damaged(DiskDamage::Flip, 1)), 1);
    let sector = differing(&disk.damaged(DiskDamage::Sector, 1));
    assert!((300..=SECTOR_BYTES).contains(&sector), "{sector}");
    assert_eq!(contents(&disk.damaged(DiskDamage::Emptied, 1)).len(), 0);
    assert!(contents(&disk.damaged(DiskDamage::Truncated, 1)).len() < 5000);
    assert_eq!(differing(&disk), 0);
}
