//! `docs/actions.md` says what is there: its tables are made from the action files and from [`api::NOT_YET_IN_FORCE`],
//! and this test keeps them exact. `BASCULE_UPDATE=1 cargo test -p api --test docs` writes them anew.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const BEGIN: &str = "<!-- generated from the sources: begin -->";
const END: &str = "<!-- generated from the sources: end -->";

/// Folder of a service's actions and its name in the table, in the table's order.
const SERVICES: [(&str, &str); 5] =
    [("ec2", "EC2"), ("acm", "ACM"), ("sts", "STS"), ("iam", "IAM"), ("logs", "CloudWatch Logs")];

#[test]
fn the_tables_are_exact() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = root.join("../../docs/actions.md");
    let text = fs::read_to_string(&page).expect("docs/actions.md");
    let (before, rest) = text.split_once(BEGIN).expect("the begin mark");
    let (old, after) = rest.split_once(END).expect("the end mark");
    let new = tables(&root.join("src"));
    if std::env::var_os("BASCULE_UPDATE").is_some() {
        fs::write(&page, format!("{before}{BEGIN}{new}{END}{after}")).expect("docs/actions.md");
    } else {
        assert!(old == new, "docs/actions.md is behind: BASCULE_UPDATE=1 cargo test -p api --test docs");
    }
}

/// `GET /coverage` lists what the page does, each action of each service once.
#[test]
fn the_tables_are_what_the_port_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("../../docs/actions.md")).expect("docs/actions.md");
    let mut documented: Vec<(String, String)> = page
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
            let (action, shown) = (cells.next()?.trim_end_matches('`'), cells.next()?);
            let (name, _) = SERVICES.iter().find(|(_, service)| *service == shown)?;
            Some(((*name).to_owned(), action.to_owned()))
        })
        .collect();
    let coverage = api::coverage_json();
    let mut served = Vec::new();
    for service in coverage["services"].as_array().expect("services") {
        let name = service["service"].as_str().expect("a name");
        for action in service["actions"].as_array().expect("actions") {
            served.push((name.to_owned(), action.as_str().expect("a name").to_owned()));
        }
    }
    documented.sort();
    served.sort();
    assert!(served.len() > 20);
    assert_eq!(documented, served);
}

fn tables(sources: &Path) -> String {
    let mut text = String::from("\n\n| action | service | notes |\n|---|---|---|\n");
    let mut count = 0;
    for (folder, service) in SERVICES {
        let mut rows: Vec<(String, String)> = fs::read_dir(sources.join(folder).join("actions"))
            .into_iter()
            .flatten()
            .map(|entry| entry.expect("an action file").path())
            .filter(|path| path.file_stem().is_some_and(|name| name != "mod"))
            .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
            .map(|path| row(&fs::read_to_string(path).expect("an action file")))
            .collect();
        rows.sort();
        for (name, notes) in rows {
            count += 1;
            writeln!(text, "| `{name}` | {service} | {notes} |").expect("a string takes all");
        }
    }
    assert!(count > 20, "the action files were not found");
    text.push_str(
        "\n### Not yet in force\n\nAccepted, stored and answered; the log says so when one is set.\n\n",
    );
    text.push_str("| parameter | meanwhile |\n|---|---|\n");
    for parameter in api::NOT_YET_IN_FORCE {
        writeln!(text, "| `{}` | {} |", parameter.parameter, parameter.why).expect("a string takes all");
    }
    text.push('\n');
    text
}

/// An action file opens with ``//! `Name`: notes.``
fn row(source: &str) -> (String, String) {
    let paragraph: Vec<&str> = source
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    let paragraph = paragraph.join(" ");
    let mut parts = paragraph.splitn(3, '`');
    let (_, name, notes) = (parts.next(), parts.next().expect("a name"), parts.next().unwrap_or_default());
    let mut notes = notes.to_owned();
    while let Some(start) = notes.find("(spec: ").or_else(|| notes.find("(members: ")) {
        let end = notes[start..].find(')').map_or(notes.len(), |end| start + end + 1);
        notes.replace_range(start..end, "");
    }
    let notes = notes.trim().trim_start_matches([':', ',', '.', ' ']).trim();
    (name.to_owned(), notes.replace(" .", ".").replace('|', "\\|"))
}
