//! The files of the audit trail.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn lines(folder: &Path, series: &str) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(series))
        .collect();
    names.sort();
    let text = |path: &PathBuf| std::fs::read_to_string(path).unwrap();
    names.iter().flat_map(|path| text(path).lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn lines_are_written_in_order_and_apart_and_go_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit");
    for start in [0, 100] {
        let trail = AuditFiles::start(&audit, AuditLimits::default()).unwrap();
        for number in start..start + 100 {
            trail.record(Proof::Signed, format!("{{\"n\":{number}}}")).await;
            trail.record_now(Proof::Unproven, format!("{{\"s\":{number}}}"));
        }
        trail.finish().await;
    }
    let expected: Vec<String> = (0..200).map(|number| format!("{{\"n\":{number}}}")).collect();
    assert_eq!(lines(&audit, "callers"), expected);
    assert_eq!(lines(&audit, "strangers").len(), 200);
    assert_eq!(files(&audit), ["callers-000001.jsonl", "strangers-000001.jsonl"]);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&audit), 0o700);
    assert_eq!(mode(&audit.join("callers-000001.jsonl")), 0o600);
}

#[test]
fn files_have_a_size_and_a_number() {
    let folder = tempfile::tempdir().unwrap();
    let limits = AuditLimits { file_bytes: 30, files: 3 };
    let mut series = Rotated::open(folder.path(), "callers", limits).unwrap();
    // Ten bytes each: three to a file.
    for number in 0..20 {
        series.append(format!("line {number:04}\n").as_bytes()).unwrap();
    }
    assert_eq!(
        files(folder.path()),
        ["callers-000005.jsonl", "callers-000006.jsonl", "callers-000007.jsonl"]
    );
    let kept: Vec<String> = (12..20).map(|number| format!("line {number:04}")).collect();
    assert_eq!(lines(folder.path(), "callers"), kept);
    // Many lines at once are cut between lines; one that is larger than a file has one of its own.
    series.append(b"line 0020\nline 0021\nline 0022\nline 0023\nline 0024\n").unwrap();
    let long = format!("{}\n", "x".repeat(100));
    series.append(long.as_bytes()).unwrap();
    for name in files(folder.path()).iter().rev().skip(1) {
        assert!(std::fs::metadata(folder.path().join(name)).unwrap().len() <= 30, "{name}");
    }
    assert_eq!(lines(folder.path(), "callers").last().unwrap().len(), 100);
    // What is there is reopened, and fewer files are kept at once.
    drop(series);
    let mut series =
        Rotated::open(folder.path(), "callers", AuditLimits { file_bytes: 1_000, files: 1 }).unwrap();
    assert_eq!(files(folder.path()).len(), 1);
    series.append(b"after\n").unwrap();
    assert_eq!(lines(folder.path(), "callers").len(), 2);
}

#[test]
fn a_file_that_others_rotate_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let limits = AuditLimits { file_bytes: 20, files: 3 };
    let mut series = Rotated::open(folder.path(), "callers", limits).unwrap();
    let first = folder.path().join("callers-000001.jsonl");
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    series.append(b"one\n").unwrap();
    // Renamed, and nothing in its place.
    std::fs::rename(&first, folder.path().join("callers-000001.jsonl.1")).unwrap();
    series.append(b"two\n").unwrap();
    assert_eq!(read(&folder.path().join("callers-000001.jsonl.1")), "one\n");
    assert_eq!(read(&first), "two\n");
    // Renamed, and an empty one in its place.
    std::fs::rename(&first, folder.path().join("kept")).unwrap();
    std::fs::write(&first, "").unwrap();
    series.append(b"three\n").unwrap();
    assert_eq!((read(&folder.path().join("kept")), read(&first)), ("two\n".into(), "three\n".into()));
    // Copied and emptied: what it holds counts, not what it held.
    std::fs::write(&first, "").unwrap();
    series.append(b"four four four\n").unwrap();
    assert_eq!(read(&first), "four four four\n");
    // Removed.
    std::fs::remove_file(&first).unwrap();
    series.append(b"five five five\n").unwrap();
    assert_eq!(read(&first), "five five five\n");
    series.append(b"six six six\n").unwrap();
    assert_eq!(read(&folder.path().join("callers-000002.jsonl")), "six six six\n", "its own bound holds on");
}

#[test]
fn a_broken_last_line_spoils_no_other() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("callers-000007.jsonl"), "whole\nhal").unwrap();
    let mut series = Rotated::open(folder.path(), "callers", AuditLimits::default()).unwrap();
    series.append(b"next\n").unwrap();
    assert_eq!(lines(folder.path(), "callers"), ["whole", "hal", "next"]);
}

/// A queue without room: strangers' lines are dropped at once, callers' after a bounded wait, and both are told.
#[tokio::test(start_paused = true)]
async fn a_full_queue_is_counted_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, mut waiting) = mpsc::channel(2);
    let lost = Arc::new(AtomicU64::new(0));
    let series = |name| Series { name, queue: queue.clone(), lost: Arc::clone(&lost) };
    let trail = AuditFiles { callers: series("callers"), strangers: series("strangers") };
    for number in 0..2 {
        trail.record(Proof::Unproven, number.to_string()).await;
    }
    trail.record(Proof::Unproven, "dropped".to_owned()).await;
    trail.record_now(Proof::Signed, "dropped".to_owned());
    let before = tokio::time::Instant::now();
    trail.record(Proof::Signed, "dropped after a while".to_owned()).await;
    assert!((WAIT..WAIT * 2).contains(&before.elapsed()), "it waits, and not for ever");
    assert_eq!(lost.load(Ordering::Relaxed), 3);
    // Room while it waits: nothing is lost.
    let ((), ()) = tokio::join!(trail.record(Proof::Signed, "late".to_owned()), async {
        tokio::time::sleep(WAIT / 2).await;
        assert!(waiting.recv().await.is_some());
    });
    assert_eq!(lost.load(Ordering::Relaxed), 3);
    drop((trail, queue));
    let files = Rotated::open(folder.path(), "callers", AuditLimits::default()).unwrap();
    let writer = Writer {
        name: "callers",
        folder: folder.path().to_owned(),
        files,
        lost: Arc::clone(&lost),
        failing: false,
    };
    std::thread::spawn(move || writer.run(waiting)).join().unwrap();
    assert_eq!(lines(folder.path(), "callers"), [r#"{"eventName":"AuditLinesLost","lines":3}"#, "1", "late"]);
}

#[test]
fn what_cannot_be_written_is_told_once_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let limits = AuditLimits { file_bytes: 5, files: 9 };
    let files = Rotated::open(folder.path(), "callers", limits).unwrap();
    let lost = Arc::new(AtomicU64::new(0));
    let mut writer = Writer {
        name: "callers",
        folder: folder.path().to_owned(),
        files,
        lost: Arc::clone(&lost),
        failing: false,
    };
    writer.write("one\n", 1);
    // In the next file's place stands a folder.
    let obstacle = folder.path().join("callers-000002.jsonl");
    std::fs::create_dir(&obstacle).unwrap();
    writer.write("two\n", 1);
    writer.write("three\nfour\n", 2);
    assert_eq!(lost.load(Ordering::Relaxed), 3);
    std::fs::remove_dir(&obstacle).unwrap();
    writer.write("five\n", 1);
    assert_eq!(
        lines(folder.path(), "callers"),
        ["one", r#"{"eventName":"AuditLinesLost","lines":3}"#, "five"]
    );
}
