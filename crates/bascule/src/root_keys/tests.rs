//! The root's keys: made once, rotated, switched on and off, sealed.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn master() -> MasterKey {
    MasterKey::from_bytes(&[7; 32]).unwrap()
}

fn ids(keys: &RootKeys<'_>) -> Vec<(String, bool)> {
    keys.keys().iter().map(|key| (key.key.id.clone(), key.active)).collect()
}

fn told(dir: &Path) -> AccessKey {
    credentials::read(&dir.join(CREDENTIALS_FILE)).unwrap()
}

#[test]
fn the_first_start_makes_a_key_that_stays() {
    let (dir, master) = (tempfile::tempdir().unwrap(), master());
    let first = ids(&RootKeys::open_or_make(dir.path(), &master).unwrap());
    let key = told(dir.path());
    assert_eq!(first, [(key.id.clone(), true)]);
    assert!(key.id.starts_with("AKIA") && key.id.len() == 20 && key.secret.len() == 40);
    assert_eq!(ids(&RootKeys::open_or_make(dir.path(), &master).unwrap()), first);
    for file in [CREDENTIALS_FILE, ROOT_KEYS_FILE] {
        let mode = std::fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let text = std::fs::read_to_string(dir.path().join(ROOT_KEYS_FILE)).unwrap();
    assert!(text.contains(&key.id) && !text.contains(key.secret.as_str()), "sealed");
    // Without it, the keys' file tells it again.
    std::fs::remove_file(dir.path().join(CREDENTIALS_FILE)).unwrap();
    RootKeys::open_or_make(dir.path(), &master).unwrap();
    assert_eq!(told(dir.path()).secret, key.secret);
}

#[test]
fn a_directory_of_an_earlier_version_keeps_its_key() {
    let (dir, master) = (tempfile::tempdir().unwrap(), master());
    let key =
        AccessKey { id: "AKIAEARLIER000000000".into(), secret: Zeroizing::new("s".repeat(40)), token: None };
    credentials::write(&dir.path().join(CREDENTIALS_FILE), &key).unwrap();
    let opened = RootKeys::open_or_make(dir.path(), &master).unwrap();
    assert_eq!(ids(&opened), [(key.id.clone(), true)]);
    assert_eq!(opened.accepted()[0].1.expose(), key.secret.as_str());
}

#[test]
fn keys_rotate_and_go() {
    let (dir, master) = (tempfile::tempdir().unwrap(), master());
    assert!(RootKeys::open(dir.path(), &master).is_err(), "no start yet");
    let mut keys = RootKeys::open_or_make(dir.path(), &master).unwrap();
    let old = told(dir.path()).id;
    let why = keys.switch(&old, false).unwrap_err().to_string();
    assert!(why.contains("only key"), "{why}");
    let new = keys.rotate().unwrap();
    assert_eq!(ids(&keys), [(old.clone(), true), (new.clone(), true)]);
    assert_eq!(told(dir.path()).id, new);
    assert_eq!(keys.accepted().len(), 2);
    let why = keys.rotate().unwrap_err().to_string();
    assert!(why.contains(&old) && why.contains("disable one"), "{why}");
    keys.switch(&old, false).unwrap();
    keys.switch(&old, false).unwrap();
    assert_eq!(keys.accepted().len(), 1);
    // Back, the other way round: the file tells what is accepted.
    keys.switch(&old, true).unwrap();
    keys.switch(&new, false).unwrap();
    assert_eq!(told(dir.path()).id, old);
    let third = keys.rotate().unwrap();
    assert_eq!(ids(&keys), [(old, true), (third, true)], "the one that was off has made room");
    assert!(keys.switch(&new, true).unwrap_err().to_string().contains("no root key"));
    drop(keys);
    assert_eq!(RootKeys::open(dir.path(), &master).unwrap().keys().len(), 2);
}

#[test]
fn a_file_that_is_not_good_is_refused() {
    let (dir, master) = (tempfile::tempdir().unwrap(), master());
    RootKeys::open_or_make(dir.path(), &master).unwrap();
    let path = dir.path().join(ROOT_KEYS_FILE);
    let good = std::fs::read_to_string(&path).unwrap();
    let another = MasterKey::from_bytes(&[8; 32]).unwrap();
    let error = RootKeys::open(dir.path(), &another).err().unwrap();
    assert!(error.is::<Usage>() && error.to_string().contains("another master key"), "{error}");
    let id = told(dir.path()).id;
    for (what, text) in [
        ("another id", good.replace(&id, "AKIAOTHER00000000000")),
        ("no TOML", format!("{good}???")),
        ("unknown key", good.replace("active", "aktiv")),
        ("nothing", String::new()),
        ("too many", good.clone() + &good.replace(HEADER, "").repeat(2)),
    ] {
        std::fs::write(&path, text).unwrap();
        assert!(RootKeys::open(dir.path(), &master).is_err(), "{what}");
        assert!(RootKeys::open_or_make(dir.path(), &master).is_err(), "{what}: and none is made instead");
    }
}

#[tokio::test(start_paused = true)]
async fn a_running_server_follows() {
    let (dir, master) = (tempfile::tempdir().unwrap(), Arc::new(master()));
    let first = {
        let keys = RootKeys::open_or_make(dir.path(), &master).unwrap();
        keys.accepted()
    };
    let old = first[0].0.clone();
    let account = "000000000000".parse().unwrap();
    let identities = Arc::new(FileIdentities::open(account, first, dir.path().join("users.toml")).unwrap());
    let following =
        tokio::spawn(follow(dir.path().to_owned(), Arc::clone(&master), Arc::downgrade(&identities)));
    let known = |id: &str| api::Identities::find(&*identities, id).is_some();
    tokio::time::sleep(LOOK * 2).await;
    let new = RootKeys::open(dir.path(), &master).unwrap().rotate().unwrap();
    assert!(!known(&new));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(known(&new) && known(&old));
    RootKeys::open(dir.path(), &master).unwrap().switch(&old, false).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(known(&new) && !known(&old));
    std::fs::write(dir.path().join(ROOT_KEYS_FILE), "broken").unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(known(&new), "the last good ones stay");
    drop(identities);
    following.await.unwrap();
}
