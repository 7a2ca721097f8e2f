//! The main process holds nothing while it serves, seen from outside.

use std::time::Duration;

use anyhow::{Context, Result};
use lab::{Scene, SceneOptions, TARGETS};

fn status(pid: u32, field: &str) -> Result<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find(|line| line.starts_with(&format!("{field}:"))).context("no such field")?;
    Ok(line.split_whitespace().nth(1).unwrap_or_default().to_owned())
}

#[test]
fn the_main_process_has_no_capability_and_cannot_exec() -> Result<()> {
    lab::or_skip(|| {
        let scene = Scene::new(SceneOptions::default())?;
        let (_, [subnet, _]) = scene.make_vpc()?;
        let endpoint = scene.make_endpoint(&[])?;
        let association = scene.associate(&endpoint, &subnet)?;
        scene.authorize(&endpoint, "10.77.0.0/16")?;
        let client = scene.connect(0, &scene.profile(&endpoint)?, "client", &[])?;
        assert!(scene.reaches(0, TARGETS[0]));
        let server = scene.server().id();
        let mut threads = 0;
        for entry in std::fs::read_dir(format!("/proc/{server}/task"))? {
            let thread: u32 = entry?.file_name().to_string_lossy().parse()?;
            threads += 1;
            for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                assert_eq!(status(thread, set)?, "0000000000000000", "thread {thread}, {set}");
            }
            assert_eq!(status(thread, "NoNewPrivs")?, "1", "thread {thread}");
            // A filter of system calls is in force; what it refuses is tried in tests/test_service.py.
            assert_eq!(status(thread, "Seccomp")?, "2", "thread {thread}");
        }
        assert!(threads > 4, "{threads} threads");
        drop(client);
        scene.disassociate(&endpoint, &association)?;
        lab::eventually("pending-associate", Duration::from_secs(2), || {
            scene.endpoint_status(&endpoint).ok().filter(|status| status == "pending-associate")
        })?;
        Ok(())
    })
}
