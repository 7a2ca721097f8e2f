//! What a machine must have, and how it gets it: Debian packages, and a Python environment for the API's tests.

use std::path::{Path, PathBuf};

use crate::run::{Outcome, cargo, command, kept, root, shown, target_dir};

/// A program that must be there, the package that brings it, and what for.
pub(crate) struct Need {
    program: &'static str,
    package: &'static str,
    why: &'static str,
}

const fn need(program: &'static str, package: &'static str, why: &'static str) -> Need {
    Need { program, package, why }
}

/// For real clients in network namespaces.
pub(crate) const LAB: &[Need] = &[
    need("ip", "iproute2", "network namespaces, links and addresses of the lab"),
    need("nft", "nftables", "the gateway's packet filter"),
    need("openvpn", "openvpn", "the real client"),
    need("ping", "iputils-ping", "probes through the tunnel"),
];

/// For the tests, beside those.
pub(crate) const TESTS: &[Need] = &[
    need("tcpdump", "tcpdump", "captures at the target"),
    need("conntrack", "conntrack", "looking for connection tracking entries that are left"),
    need("iptables", "iptables", "the filters of hosts with Docker, which `bascule fabric check` judges"),
    need("ufw", "ufw", "the filters of hosts with ufw"),
    need("setpriv", "util-linux", "processes that lack a privilege"),
    need("logrotate", "logrotate", "rotating the audit trail as an installation may"),
    need("openssl", "openssl", "the other opinion on certificates"),
    need("adduser", "adduser", "the account that the Debian package makes"),
    need("python3", "python3", "botocore and the AWS CLI"),
];

/// Whether this runs as root.
pub(crate) fn is_root() -> bool {
    kept(command("id").arg("-u")).is_ok_and(|(_, text)| text.trim() == "0")
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).any(|folder| folder.join(program).is_file())
}

/// Installs what is missing; returns what could not be had, one reason each.
pub(crate) fn install(needs: &[&[Need]]) -> Vec<String> {
    let missing: Vec<&Need> = needs.iter().copied().flatten().filter(|need| !on_path(need.program)).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    for need in &missing {
        println!("installing {}: {}", need.package, need.why);
    }
    if let Err(error) = packages(&missing.iter().map(|need| need.package).collect::<Vec<_>>()) {
        println!("{error}");
    }
    missing
        .into_iter()
        .filter(|need| !on_path(need.program))
        .map(|need| format!("{} is not there (package {}): {}", need.program, need.package, need.why))
        .collect()
}

fn packages(names: &[&str]) -> Outcome<()> {
    if !on_path("apt-get") {
        return Err("this machine has no apt-get: install the packages by hand".to_owned());
    }
    let sudo = !is_root();
    if sudo && !kept(command("sudo").args(["-n", "true"])).is_ok_and(|(ok, _)| ok) {
        return Err("packages need root, or sudo without a password".to_owned());
    }
    let apt = |arguments: &[&str]| {
        let mut command = if sudo { command("sudo") } else { command("env") };
        if sudo {
            command.args(["-n", "env"]);
        }
        command.arg("DEBIAN_FRONTEND=noninteractive").arg("apt-get").args(arguments);
        kept(&mut command)
    };
    apt(&["update", "-q"])?;
    let mut arguments = vec!["install", "-q", "-y", "--no-install-recommends"];
    arguments.extend(names);
    match apt(&arguments)? {
        (true, _) => Ok(()),
        (false, text) => Err(format!("apt-get install failed:\n{text}")),
    }
}

/// A Python environment with the pinned modules of `tests/requirements.txt`; its interpreter.
pub(crate) fn python() -> Outcome<PathBuf> {
    environment("python", "tests/requirements.txt", "botocore, boto3 and the AWS CLI: the API's tests")
}

/// moto's server in an environment of its own, pinned by `xtask/moto.txt`; its program.
pub(crate) fn moto() -> Outcome<PathBuf> {
    let interpreter =
        environment("moto", "xtask/moto.txt", "moto's server: what the API is measured beside")?;
    Ok(interpreter.with_file_name("moto_server"))
}

/// A Python environment with pinned modules, made once; its interpreter.
fn environment(name: &str, requirements: &str, what: &str) -> Outcome<PathBuf> {
    let file = root().join(requirements);
    let wanted = std::fs::read_to_string(&file).map_err(|error| format!("{requirements}: {error}"))?;
    let environment = target_dir().join(name);
    let (interpreter, stamp) = (environment.join("bin/python"), environment.join("requirements.txt"));
    if std::fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) && interpreter.is_file() {
        return Ok(interpreter);
    }
    println!("making a Python environment with {what}");
    let venv = |environment: &Path| {
        let path = environment.to_owned();
        kept(command("python3").args(["-m", "venv", "--clear"]).arg(path))
    };
    if !venv(&environment)?.0 {
        // Debian's interpreter comes without its venv module.
        packages(&["python3-venv"])?;
        let (ok, text) = venv(&environment)?;
        if !ok {
            return Err(format!("python3 -m venv failed:\n{text}"));
        }
    }
    let mut pip = command(&interpreter);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&file);
    if !shown(&mut pip)? {
        return Err(format!("pip could not install {requirements}"));
    }
    std::fs::write(&stamp, wanted).map_err(|error| format!("{}: {error}", stamp.display()))?;
    Ok(interpreter)
}

/// cargo-deb, which makes the Debian package; its program. For a package that only tests see, one that is built in a
/// fraction of the time will do.
pub(crate) fn cargo_deb(for_tests: bool) -> Outcome<PathBuf> {
    const VERSION: &str = "3.8.0";
    if on_path("cargo-deb") {
        return Ok("cargo-deb".into());
    }
    let tools = target_dir().join("tools");
    let (good, quick) = (tools.clone(), tools.join("quick"));
    let there = |place: &PathBuf| Some(place.join("bin/cargo-deb")).filter(|program| program.is_file());
    if let Some(program) = there(&good).or_else(|| there(&quick).filter(|_| for_tests)) {
        return Ok(program);
    }
    println!("installing cargo-deb {VERSION}: it makes the Debian package");
    let (place, build) = (if for_tests { quick } else { good }, tools.join("build"));
    let mut install = cargo();
    install.args(["install", "--quiet", "--locked", "cargo-deb", "--version", VERSION, "--root"]).arg(&place);
    if for_tests {
        install.args(["--debug", "--no-default-features"]);
        install.env("CARGO_PROFILE_DEV_DEBUG", "0");
    }
    if !shown(install.env("CARGO_TARGET_DIR", &build).env("CARGO_INCREMENTAL", "0"))? {
        return Err("cargo could not install cargo-deb".to_owned());
    }
    // Hundreds of megabytes that nobody needs again.
    std::fs::remove_dir_all(&build).map_err(|error| format!("{}: {error}", build.display()))?;
    there(&place).ok_or_else(|| format!("{} has no cargo-deb", place.display()))
}
