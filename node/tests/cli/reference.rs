//! Help, completions, the reference page and the exit codes of misuse.

use std::fs;
use std::path::Path;

use crate::harness::{Home, finish, program};

#[test]
fn the_reference_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CLI.md");
    let page = finish(program().arg("cli-docs"), None).done();
    if std::env::var_os("NODESPACE_BLESS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == page, "docs/CLI.md is not what the commands say; run the test again with NODESPACE_BLESS=1 and look at the difference");
}

#[test]
fn the_page_names_every_command_and_every_exit_code() {
    let page = finish(program().arg("cli-docs"), None).done();
    let commands = [
        "init",
        "run",
        "status",
        "node create",
        "node get",
        "node list",
        "node tree",
        "node edit",
        "node move",
        "node delete",
        "node restore",
        "node history",
        "node show-at",
        "embed",
        "batch",
        "search",
        "changes",
        "conflicts list",
        "conflicts show",
        "conflicts resolve",
        "import",
        "export",
        "backup",
        "restore",
        "doctor",
        "rebuild",
        "config check",
        "config show",
        "config default",
        "completions",
        "outline",
    ];
    for command in commands {
        let line = format!("# nodespace {command}\n");
        assert!(page.contains(&line), "{command} is missing");
        let help = finish(program().args(command.split(' ')).arg("--help"), None).done();
        assert!(help.contains("Usage:") && help.contains("--home"), "{help}");
    }
    for code in 0..=8 {
        assert!(page.contains(&format!("\n| {code} | ")), "{code} is missing");
    }
    assert!(page.lines().all(|line| !line.ends_with(' ')), "a line ends with a space");
}

#[test]
fn completions_are_there_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = finish(program().args(["completions", shell]), None).done();
        for word in ["show-at", "expected-version", "nodespace"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
    let script = finish(program().args(["completions", "bash"]), None).done();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("completions.bash");
    fs::write(&path, script).unwrap();
    match std::process::Command::new("bash").arg("-n").arg(&path).status() {
        Ok(status) => assert!(status.success(), "bash does not read the script"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}"),
    }
}

#[test]
fn misuse_ends_with_2() {
    let home = Home::empty();
    for arguments in [
        &["nod"][..],
        &["node"],
        &["node", "create", "--set", "done"],
        &["node", "create", "text", "--file", "x"],
        &["node", "create", "--first", "--after", "x"],
        &["node", "show-at", "x"],
        &["node", "show-at", "x", "--time", "a", "--op", "b"],
        &["conflicts", "resolve", "x"],
        &["conflicts", "resolve", "x", "--dismiss", "--keep", "y"],
        &["search", "--mode", "guess", "x"],
        &["completions", "tcl"],
        &["node", "edit", "x", "--expected-version", "-1"],
    ] {
        let ran = home.run(arguments);
        assert_eq!(ran.code, 2, "{arguments:?} {ran:?}");
        assert!(ran.out.is_empty() && !ran.err.is_empty(), "{ran:?}");
    }
}

#[test]
fn without_a_home_every_command_says_how_to_make_one() {
    let home = Home::empty();
    for arguments in
        [&["status"][..], &["node", "get", "x"], &["search", "x"], &["doctor"], &["import", &crate::harness::corpus()], &["run"]]
    {
        let err = home.run(arguments).fails(3, "init");
        assert!(err.contains(&home.path().display().to_string()), "{err}");
    }
    assert!(!home.path().exists(), "a home was made by a command that only reads");
}
