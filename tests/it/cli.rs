//! The command line: what it says, what it says of a wrong file, and the status it ends with.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::kit::{Backend, Pki, Proxy, plain, within};

/// Runs longhaul to its end.
async fn longhaul(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longhaul"));
    command.args(arguments).env_remove("LONGHAUL_CONFIG");
    let (done, output) = tokio::sync::oneshot::channel();
    // A thread of its own: a test must be able to fail while the process hangs.
    std::thread::spawn(move || done.send(command.output().expect("longhaul starts")));
    within("the end of longhaul", output).await.expect("the thread lives")
}

/// Runs longhaul on a file that it should refuse: its status, and what it says, without the file's path.
async fn refused(folder: &Path, config: &str) -> (Option<i32>, String) {
    let file = folder.join("longhaul.toml");
    fs::write(&file, config).expect("a writable folder");
    let output = longhaul(&["run", "--config", &file.display().to_string()]).await;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "nothing was started");
    let text = String::from_utf8(output.stderr).expect("text");
    (output.status.code(), text.replace(&folder.display().to_string(), "DIR"))
}

#[tokio::test]
async fn it_tells_its_version() {
    let output = longhaul(&["--version"]).await;
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, format!("longhaul {}\n", env!("CARGO_PKG_VERSION")).into_bytes());
}

#[tokio::test]
async fn help_has_examples_and_every_exit_status() {
    for arguments in [&["--help"][..], &["-h"], &["run", "--help"]] {
        let output = longhaul(arguments).await;
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8(output.stdout).expect("text");
        for wanted in ["longhaul demo", "longhaul run --config longhaul.toml", "kill -TERM", "Exit status:"] {
            assert!(text.contains(wanted), "{wanted} is missing:\n{text}");
        }
        for status in ["0", "1", "2", "3", "4", "78"] {
            let told = text.lines().any(|line| line.starts_with(&format!("  {status} ")));
            assert!(told, "status {status} is missing:\n{text}");
        }
    }
}

#[tokio::test]
async fn wrong_usage_ends_with_2() {
    for arguments in [&[][..], &["run"], &["serve"], &["run", "--config"], &["demo", "now"], &["--loud"]] {
        let output = longhaul(arguments).await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("--help"), "{arguments:?}");
    }
}

#[tokio::test]
async fn every_problem_of_a_file_is_told_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = "\
[server]
wrokers = 2

[[listeners]]
name = \"plain\"
address = \"localhost:80\"

[[routes]]
name = \"all\"
pool = \"other\"
idle_timeout = \"10\"

[pools.all]
backends = []
";
    let (status, text) = refused(folder.path(), config).await;
    assert_eq!(status, Some(78));
    for (place, line, remedy) in [
        ("2:1", "wrokers = 2", "`workers`"),
        ("6:11", "address = \"localhost:80\"", "127.0.0.1:80"),
        ("10:8", "pool = \"other\"", "`all`"),
        ("11:16", "idle_timeout = \"10\"", "\"10s\""),
        ("14:12", "backends = []", "at least one"),
    ] {
        let start = text.find(&format!("DIR/longhaul.toml:{place}\n"));
        let start = start.unwrap_or_else(|| panic!("no problem at {place}:\n{text}"));
        let problem = &text[start..];
        let problem = &problem[..problem.find("\nerror: ").unwrap_or(problem.len())];
        assert!(problem.contains(&format!(" | {line}\n")), "{line} is not shown:\n{problem}");
        assert!(problem.contains("= help: ") && problem.contains(remedy), "{remedy} is missing:\n{problem}");
    }
    assert!(text.ends_with("5 problems in DIR/longhaul.toml\n"), "{text}");
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let output = longhaul(&["run", "--config", "/nonexistent/longhaul.toml"]).await;
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(text.contains("cannot read /nonexistent/longhaul.toml: No such file"), "{text}");
    assert!(text.contains("= help: give the path of a configuration file"), "{text}");
}

/// What a file names, and cannot be used: shown where the file names it, and what is to be done.
#[tokio::test]
async fn certificates_that_cannot_be_used_are_shown_where_they_are_named() {
    let pki = Pki::new();
    let (one, other) = (pki.issue(&["one.example.com"]), pki.issue(&["other.example.com"]));
    let missing = pki.path().join("missing.pem");
    let garbage = pki.path().join("garbage.pem");
    fs::write(&garbage, "not PEM at all").expect("a writable folder");
    let missing_message = "cannot read DIR/missing.pem: No such file";
    let config = |cert: &Path, key: &Path| {
        let tls = format!(
            "address = \"127.0.0.1:0\"\n[listeners.tls]\ncertificates = [{{\ncert = \"{}\",\nkey = \"{}\" }}]",
            cert.display(),
            key.display()
        );
        plain(&["127.0.0.1:1".parse().unwrap()]).replacen("address = \"127.0.0.1:0\"", &tls, 1)
    };
    for (cert, key, place, message) in [
        (&missing, &one.key, "6:8", missing_message),
        (&one.cert, &missing, "7:7", missing_message),
        (&garbage, &one.key, "6:8", "no certificate in this file"),
        (&one.cert, &garbage, "7:7", "no private key in this file"),
        (&one.key, &one.key, "6:8", "no certificate in this file"),
        (&one.cert, &other.key, "7:7", "the private key does not belong to the certificate"),
    ] {
        let (status, text) = refused(pki.path(), &config(cert, key)).await;
        assert_eq!(status, Some(78), "{text}");
        assert!(text.starts_with(&format!("error: {message}")), "{message}:\n{text}");
        assert!(text.contains(&format!("DIR/longhaul.toml:{place}\n")), "{place}:\n{text}");
        assert!(text.contains("= help: "), "{text}");
        assert!(text.ends_with("1 problem in DIR/longhaul.toml\n"), "{text}");
    }
}

/// The file is not wrong, so the status is another one: who starts longhaul may try again.
#[tokio::test]
async fn every_taken_address_is_shown_where_it_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let [one, other] =
        taken.each_ref().map(|socket| socket.local_addr().expect("a bound socket").to_string());
    let config = format!("[metrics]\naddress = \"{one}\"\n")
        + &plain(&["127.0.0.1:1".parse().unwrap()]).replace("127.0.0.1:0", &other);
    let (status, text) = refused(folder.path(), &config).await;
    assert_eq!(status, Some(1), "{text}");
    for (address, place) in [(one, "2:11"), (other, "5:11")] {
        let problem = format!(
            "error: cannot listen on {address}: Address already in use (os error 98)\n --> DIR/longhaul.toml:{place}\n"
        );
        assert!(text.contains(&problem), "{place}:\n{text}");
    }
    assert!(text.contains("= help: stop what listens there, or choose another port"), "{text}");
}

/// Every file in `config/`, with its addresses and certificates replaced by those that a test can have.
#[tokio::test]
async fn the_configurations_that_come_with_it_start() {
    let pki = Pki::new();
    let certificate = pki.issue(&["chat.example.com"]);
    let mut files: Vec<PathBuf> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("config"))
        .expect("a readable folder")
        .map(|entry| entry.expect("a readable entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 2, "{files:?}");
    let secrets = pki.path().join("tickets.keys");
    fs::write(&secrets, "A".repeat(64)).expect("a writable folder");
    let page = pki.path().join("down.html");
    fs::write(&page, "later").expect("a writable folder");
    let list = pki.path().join("listed.backends.toml");
    fs::write(&list, "backends = []\n").expect("a writable folder");
    let backend = Backend::echo("app").await;
    for file in files {
        let mut text = String::new();
        for line in fs::read_to_string(&file).expect("a readable file").lines() {
            match line.split_once(" = ") {
                Some(("address", _)) => text += "address = \"127.0.0.1:0\"",
                // The backend here speaks none, and would be taken down, sooner or later than it is asked.
                Some(("subprotocol", _)) => {}
                Some(("handover", _)) => {
                    text += &format!("handover = \"{}\"", pki.path().join("handover.sock").display());
                }
                Some(("ca", _)) => text += &format!("ca = \"{}\"", pki.authority_file().display()),
                Some(("cert", _)) => text += &format!("cert = \"{}\"", certificate.cert.display()),
                Some(("crl", _)) => text += &format!("crl = \"{}\"", pki.revoke(&[]).display()),
                Some((key @ ("ticket_keys" | "keys"), _)) => {
                    text += &format!("{key} = \"{}\"", secrets.display());
                }
                Some(("path", path)) if path.contains("backends.toml") => {
                    text += &format!("path = \"{}\"", list.display())
                }
                Some(("key", _)) => text += &format!("key = \"{}\"", certificate.key.display()),
                _ if line.contains("{ cert = ") => text += &format!("{},", certificate.entry()),
                _ => text += line,
            }
            text += "\n";
        }
        let text = text.replace("127.0.0.1:3000", &backend.address.to_string());
        let text = text.replace("down.html", &page.display().to_string());
        let proxy = Proxy::start(&text).await;
        let (mut socket, _) = proxy.connect("local").await.open("/ws", "www.example.com", "").await;
        assert_eq!(socket.receive_text().await, "app", "{}", file.display());
    }
}
