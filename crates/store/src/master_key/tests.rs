//! Tests of the master key.

use std::fs::{self, Permissions};

use super::*;

fn fixed(byte: u8) -> MasterKey {
    MasterKey::from_bytes(&[byte; 32]).unwrap()
}

#[test]
fn a_secret_opens_for_its_key_and_context_only() {
    let key = fixed(1);
    for secret in [&b""[..], b"s", &[7; 5000]] {
        let sealed = key.seal("/v1/a", secret).unwrap();
        assert_eq!(key.open("/v1/a", &sealed).unwrap().as_slice(), secret);
        assert!(matches!(key.open("/v1/b", &sealed), Err(MasterKeyError::DoesNotOpen)));
        assert!(matches!(fixed(2).open("/v1/a", &sealed), Err(MasterKeyError::DoesNotOpen)));
        assert_ne!(key.seal("/v1/a", secret).unwrap(), sealed, "a nonce of its own");
    }
}

#[test]
fn every_bit_counts() {
    let key = fixed(1);
    let sealed = STANDARD.decode(key.seal("c", b"secret").unwrap()).unwrap();
    assert_eq!(sealed.len(), 1 + 12 + 6 + 16);
    for index in 0..sealed.len() {
        for bit in 0..8 {
            let mut altered = sealed.clone();
            altered[index] ^= 1 << bit;
            assert!(key.open("c", &STANDARD.encode(altered)).is_err(), "byte {index}, bit {bit}");
        }
        assert!(key.open("c", &STANDARD.encode(&sealed[..index])).is_err(), "cut at {index}");
    }
    assert!(key.open("c", "not base64!").is_err());
}

#[test]
fn a_key_file_is_made_once_and_private() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys/master");
    let sealed = MasterKey::load_or_create(&path).unwrap().seal("c", b"x").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left");
    assert_eq!(MasterKey::load_or_create(&path).unwrap().open("c", &sealed).unwrap().as_slice(), b"x");
    fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
    assert!(MasterKey::load_or_create(&path).is_ok(), "read-only is private enough");
    for mode in [0o640, 0o604, 0o620, 0o601] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let text = MasterKey::load_or_create(&path).unwrap_err().to_string();
        assert!(
            text.contains("chmod 600") && text.contains(&format!("{mode:04o}")) && !text.contains('\n'),
            "{text}"
        );
    }
}

#[test]
fn whoever_is_first_everyone_gets_the_same_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("master");
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let path = path.clone();
            std::thread::spawn(move || MasterKey::load_or_create(path).unwrap())
        })
        .collect();
    let keys: Vec<MasterKey> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let sealed = keys[0].seal("c", b"x").unwrap();
    assert!(keys.iter().all(|key| key.open("c", &sealed).is_ok()));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn what_is_no_key_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("master");
    let rows = ["", "\u{0}", "bascule-master-key-1:", "bascule-master-key-1:AAAA", "other:AAAA"];
    for text in rows.iter().map(|text| text.as_bytes()).chain([&b"\xff\xfe"[..], &[b'A'; 1000]]) {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(MasterKey::load_or_create(&path), Err(MasterKeyError::NotAKey(_))), "{text:?}");
        assert_eq!(fs::read(&path).unwrap(), text, "and left alone");
    }
    assert!(matches!(MasterKey::load_or_create(directory.path()), Err(MasterKeyError::NotAKey(_))));
}

#[test]
fn nothing_of_the_key_is_printed() {
    assert_eq!(format!("{:?}", fixed(1)), "MasterKey");
}

#[test]
fn derived_keys_are_the_same_every_time_and_open_nobody_elses() {
    let master = MasterKey::from_bytes(&[7; 32]).unwrap();
    let one = master.derived("one").unwrap();
    let sealed = one.seal("here", b"secret").unwrap();
    let again = MasterKey::from_bytes(&[7; 32]).unwrap().derived("one").unwrap();
    assert_eq!(again.open("here", &sealed).unwrap().as_slice(), b"secret");
    let other_master = MasterKey::from_bytes(&[8; 32]).unwrap().derived("one").unwrap();
    for key in [&master, &master.derived("two").unwrap(), &other_master] {
        assert!(matches!(key.open("here", &sealed), Err(MasterKeyError::DoesNotOpen)));
    }
}
