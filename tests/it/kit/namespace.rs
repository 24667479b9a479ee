//! A network namespace of a test's own: the test's program, started again where it may do with the network what it likes.

use std::future::Future;
use std::process::Command;

/// Set in the namespace that a test makes for itself.
const INSIDE: &str = "LONGHAUL_TEST_INSIDE_NAMESPACE";

/// Runs the test `name` of `module` again, in a namespace that the shell's `setting` has made ready, where it does its
/// `work`.
pub fn inside(module: &str, name: &str, setting: &str, work: impl Future<Output = ()>) {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        return runtime.block_on(work);
    }
    let namespace = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "sh", "-c", script]);
        command
    };
    let setting = format!("ip link set lo up && {setting}");
    let made = namespace(&setting).output().expect("unshare(1)");
    let why = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "this test must be allowed to make a namespace, with ip(8): {why}");
    let this = std::env::current_exe().expect("a test");
    // As the harness calls it, which leaves out the name of the crate.
    let (_, module) = module.split_once("::").expect("a module of a crate");
    let inside = namespace(&format!("{setting} && exec \"$0\" \"$@\""))
        .arg(this)
        .args(["--exact", &format!("{module}::{name}"), "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare");
    let said =
        String::from_utf8_lossy(&inside.stdout).into_owned() + &String::from_utf8_lossy(&inside.stderr);
    assert!(inside.status.success() && said.contains("1 passed"), "{said}");
}
