use super::*;

fn read(disk: &Disk) -> Vec<u8> {
    disk.bytes()
}

#[test]
fn what_is_synced_stays_and_the_rest_is_at_risk() {
    let disk = Disk::new();
    disk.write(0, &[1; 1024]).unwrap();
    disk.sync_data().unwrap();
    disk.write(512, &[2; 1024]).unwrap();
    assert_eq!(disk.operations(), 3);
    assert_eq!(read(&disk.after_crash(Survival::Nothing, 0)), [1; 1024]);
    assert_eq!(read(&disk.after_crash(Survival::Everything, 0)), [[1; 512], [2; 512], [2; 512]].concat());
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..100 {
        for survival in [Survival::Prefix, Survival::Sectors, Survival::Junk] {
            let found = read(&disk.after_crash(survival, seed));
            assert_eq!(found[..512], [1; 512], "what is synced and not written again is never touched");
            assert!(found[512..1024] == [1; 512] || found[512..1024] == [2; 512], "a sector is whole");
            assert_eq!(found, read(&disk.after_crash(survival, seed)), "a seed gives one disk");
            seen.insert(found);
        }
    }
    assert!(seen.len() > 10, "chance has its say: {}", seen.len());
}

#[test]
fn a_failed_sync_loses_what_waited_though_reads_show_it() {
    let disk = Disk::new();
    disk.fail_at(2, Fault::Full, Lasts::Once);
    disk.write(0, b"lost").unwrap();
    assert_eq!(disk.sync_data().unwrap_err().kind(), io::ErrorKind::StorageFull);
    disk.sync_data().unwrap();
    assert_eq!(read(&disk), b"lost");
    assert_eq!(read(&disk.after_crash(Survival::Everything, 0)), b"");
}

#[test]
fn faults_last_as_long_as_they_are_told_to() {
    let disk = Disk::new();
    disk.fail_at(1, Fault::Io, Lasts::UntilCleared);
    for _ in 0..3 {
        assert!(disk.write(0, b"x").is_err());
    }
    disk.clear();
    disk.write(0, b"x").unwrap();
    disk.crash_at(5);
    disk.set_len(10).unwrap_err();
    assert!(disk.write(0, b"y").is_err() && disk.read(0, &mut [0]).is_err());
    assert_eq!(read(&disk.after_crash(Survival::Everything, 0)).len(), 10, "it was in flight");
    assert_eq!(read(&disk.after_crash(Survival::Nothing, 0)).len(), 0);
}

#[test]
fn damage_changes_what_is_synced_in_a_copy() {
    let disk = Disk::of(&[7; 5000]);
    let differing = |found: &Disk| read(found).iter().filter(|byte| **byte != 7).count();
    assert_eq!(differing(&disk.damaged(Damage::Flip, 1)), 1);
    let sector = differing(&disk.damaged(Damage::Sector, 1));
    assert!((300..=SECTOR).contains(&sector), "{sector}");
    assert_eq!(read(&disk.damaged(Damage::Emptied, 1)).len(), 0);
    assert!(read(&disk.damaged(Damage::Truncated, 1)).len() < 5000);
    assert_eq!(differing(&disk), 0);
}
