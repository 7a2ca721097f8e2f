//! Handlers that allow, deny, hang, lie, die and talk without end, run by a spawner on a thread.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use gateway::HandlerFailure;

use super::*;
use crate::connect_handler::command::Commands;
use crate::connect_handler::form;

/// Instead of the 30 seconds.
const LIMIT: Duration = Duration::from_millis(500);
const GOOD: &str = r#"{"allow":true,"error-msg-on-denied-connection":"","posture-compliance-statuses":["ok"],"schema-version":"v2"}"#;

fn script(dir: &Path, name: &str, text: &str) -> Vec<String> {
    let path = dir.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    vec![path.display().to_string(), "an argument".to_owned()]
}

fn commands(known: Vec<Vec<String>>) -> Commands {
    let (ours, theirs) = UnixStream::pair().unwrap();
    std::thread::spawn(move || serve(theirs, LIMIT, || Ok(())));
    Commands::new(Spawner::greet(ours, known).unwrap()).unwrap()
}

#[tokio::test]
async fn each_end_has_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let good = format!("cat > /dev/null; echo '{GOOD}'");
    let rows: Vec<(&str, String, Result<(), HandlerFailure>)> = vec![
        ("allow", good.clone(), Ok(())),
        ("deny", good.replace("true", "false"), Ok(())),
        ("no-input", format!("echo '{GOOD}'"), Ok(())),
        ("noisy", format!("head -c 300000 /dev/zero >&2; echo '{GOOD}'"), Ok(())),
        ("background", format!("sleep 1000 & echo '{GOOD}'"), Ok(())),
        ("wailing", "while :; do echo oh no >&2; done".to_owned(), Err(HandlerFailure::TimedOut)),
        ("hang", "sleep 1000".to_owned(), Err(HandlerFailure::TimedOut)),
        ("shut", "exec <&- >&- 2>&-; sleep 1000".to_owned(), Err(HandlerFailure::TimedOut)),
        ("lie", "echo '{\"allow\":true}'".to_owned(), Err(HandlerFailure::InvalidResponse)),
        ("nothing", "true".to_owned(), Err(HandlerFailure::InvalidResponse)),
        ("no-text", "printf '\\377\\376'".to_owned(), Err(HandlerFailure::InvalidResponse)),
        (
            "endless",
            "while :; do echo yyyyyyyyyyyyyyyy; done".to_owned(),
            Err(HandlerFailure::InvalidResponse),
        ),
        ("die", format!("echo '{GOOD}'; echo broken >&2; exit 3"), Err(HandlerFailure::ExecutionError)),
        ("killed", "kill -9 $$".to_owned(), Err(HandlerFailure::ExecutionError)),
    ];
    let mut known: Vec<_> = rows.iter().map(|(name, text, _)| script(dir.path(), name, text)).collect();
    known.push(vec![dir.path().join("missing").display().to_string()]);
    let commands = commands(known.clone());
    for ((name, _, expected), command) in rows.iter().zip(&known) {
        let began = Instant::now();
        let said = commands.ask(command, "{}".repeat(40_000)).await.and_then(|body| form::verdict(&body));
        assert_eq!(said.as_ref().map(drop), expected.as_ref().copied(), "{name}: {said:?}");
        let limit = LIMIT + Duration::from_secs(5);
        assert!(began.elapsed() < limit, "{name}: {:?}", began.elapsed());
    }
    let said = commands.ask(&known[1], String::new()).await.and_then(|body| form::verdict(&body));
    assert!(!said.unwrap().allow);
    for missing in [known.last().unwrap(), &vec!["/bin/true".to_owned()]] {
        assert_eq!(commands.ask(missing, String::new()).await.err(), Some(HandlerFailure::ServiceError));
    }
}

#[tokio::test]
async fn it_gets_the_request_and_little_else() {
    let dir = tempfile::tempdir().unwrap();
    let tell = "read -r request; printf '%s|%s|%s|' \"$request\" \"$1\" \"$(pwd)\"; env | grep -v -e '^_=' -e '^SHLVL=' -e '^PWD=' | sort | tr '\\n' ';'; ls /proc/self/fd | wc -l";
    let command = script(dir.path(), "tell", tell);
    let commands = commands(vec![command.clone()]);
    let said = commands.ask(&command, "{\"a\":1}\n".to_owned()).await.unwrap();
    let said = String::from_utf8(said.to_vec()).unwrap();
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let start = format!("{{\"a\":1}}|an argument|/|HOME=/;LANG=C.UTF-8;PATH={path};");
    // No more open than any program has that is started from here.
    let any =
        std::process::Command::new("/bin/sh").args(["-c", "ls /proc/self/fd | wc -l"]).output().unwrap();
    let open = String::from_utf8(any.stdout).unwrap();
    assert_eq!(said.trim(), format!("{start}{}", open.trim()));
}

#[tokio::test]
async fn its_group_ends_with_it_and_with_the_spawner() {
    let dir = tempfile::tempdir().unwrap();
    let mark = |name: &str| dir.path().join(name).display().to_string();
    // Each leaves a child behind that would go on.
    let text =
        |name: &str, end: &str| format!("sleep 1000 &\necho $! > {0}.new; mv {0}.new {0}\n{end}", mark(name));
    let answers = script(dir.path(), "answers", &text("one", &format!("echo '{GOOD}'")));
    let hangs = script(dir.path(), "hangs", &text("two", "wait"));
    let (ours, theirs) = UnixStream::pair().unwrap();
    std::thread::spawn(move || serve(theirs, Duration::from_secs(600), || Ok(())));
    let stop = ours.try_clone().unwrap();
    let spawner = Spawner::greet(ours, vec![answers.clone(), hangs.clone()]).unwrap();
    let commands = Arc::new(Commands::new(spawner).unwrap());
    let lives = |name: &str| {
        let pid = std::fs::read_to_string(mark(name)).ok()?;
        let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        Some(state.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z')))
    };
    let until = async |name: &str, wanted: bool| {
        let began = Instant::now();
        while lives(name) != Some(wanted) {
            assert!(began.elapsed() < Duration::from_secs(10), "{name}");
            tokio::task::yield_now().await;
        }
    };
    commands.ask(&answers, String::new()).await.unwrap();
    until("one", false).await;
    let asking = tokio::spawn({
        let commands = Arc::clone(&commands);
        async move { commands.ask(&hangs, String::new()).await }
    });
    until("two", true).await;
    stop.shutdown(std::net::Shutdown::Both).unwrap();
    until("two", false).await;
    assert_eq!(asking.await.unwrap().err(), Some(HandlerFailure::ServiceError));
    assert_eq!(commands.ask(&answers, String::new()).await.err(), Some(HandlerFailure::ServiceError));
}

#[test]
fn no_more_than_so_many_at_work() {
    let living = Arc::new(Living::default());
    let mut places: Vec<_> = (0..MOST_AT_WORK).map(|_| living.place().unwrap()).collect();
    assert!(living.place().is_none());
    places.pop();
    assert!(living.place().is_some());
    living.end();
    assert!(places[0].start(&mut Command::new("/bin/true")).is_err(), "nothing begins any more");
}
