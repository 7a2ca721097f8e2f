//! Scenes with the fabric of one's choice.

use anyhow::Result;
use lab::{Scene, SceneOptions};

/// A scene whose server runs with this fabric; in user space as nobody.
pub fn scene(fabric: &str, more: &str) -> Result<Scene> {
    let mut scene = Scene::without_server(SceneOptions::default())?;
    // Ping sockets for everybody: what a distribution sets.
    let range = "net.ipv4.ping_group_range=0 2147483647";
    scene.server_net.output("sysctl", &["-q", "-w", range])?;
    let config = scene.dir().join("bascule.toml");
    std::fs::write(&config, format!("[fabric]\nkind = '{fabric}'\n{more}"))?;
    let options = scene.server_options();
    options.as_nobody = fabric == "userspace";
    options.arguments.extend(["--config".to_owned(), config.display().to_string()]);
    scene.start_server()?;
    Ok(scene)
}
