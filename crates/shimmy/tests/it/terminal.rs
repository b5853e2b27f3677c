//! `shimmy run` in a real terminal, and without one.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rexpect::session::{PtySession, spawn_command};
use serde_json::Value;

use crate::support::{run_with_input, shimmy};

/// The longest that anything may take.
const MILLISECONDS: u64 = 30_000;

fn talk(folder: &Path, args: &[&str]) -> PtySession {
    let mut command = shimmy(folder);
    command.arg("run").args(args).env("TERM", "xterm");
    let mut session = spawn_command(command, Some(MILLISECONDS)).expect("a terminal");
    session.exp_string("Ctrl-D leaves").expect("the greeting");
    session.exp_string(">>> ").expect("a prompt");
    session
}

/// Types a line and waits until the next prompt; returns what came in between.
fn say(session: &mut PtySession, line: &str) -> String {
    session.send_line(line).expect("typed");
    // The editor shows what is typed.
    let echo: String = line.chars().rev().take(10).collect();
    let echo: String = echo.chars().rev().collect();
    session.exp_string(&echo).expect("the echo");
    session.exp_string("\n").expect("the end of the line");
    session.exp_string(">>> ").expect("a prompt")
}

fn leave(mut session: PtySession, how: &str) {
    session.send_line(how).expect("typed");
    session.exp_eof().expect("the end");
    let status = session.process().wait().expect("an end");
    assert!(format!("{status:?}").contains(", 0)"), "{status:?}");
}

#[test]
fn a_question_is_answered_and_bye_leaves() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut session = talk(folder.path(), &["stub"]);
    let answer = say(&mut session, "hello there");
    // On lines of its own, or the next prompt would be drawn over it.
    assert!(answer.contains("hello there\r\n"), "{answer:?}");
    leave(session, "/bye");
}

#[test]
fn ctrl_c_stops_the_answer_and_the_conversation_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut session = talk(folder.path(), &["stub", "--ctx", "40000"]);
    // A paste, which the editor takes as a whole. The answer repeats it, letter by letter.
    let long = "lorem ipsum ".repeat(1000);
    session.send("\x1b[200~").expect("typed");
    session.send(&long).expect("typed");
    session.send("END\x1b[201~").expect("typed");
    session.send_line("").expect("typed");
    session.exp_string("END").expect("the echo");
    session.exp_string("\n").expect("the end of the line");
    session
        .exp_string("lorem ipsum")
        .expect("the beginning of the answer");
    session.send_control('c').expect("typed");
    let rest = session.exp_string("(stopped)").expect("the remark");
    assert!(!rest.contains("END"), "it was not stopped");
    session.exp_string(">>> ").expect("a prompt");
    let answer = say(&mut session, "and now");
    assert!(answer.contains("and now"), "{answer:?}");
    // At the prompt it leaves nothing but the line.
    session.send("half a").expect("typed");
    session.send_control('c').expect("typed");
    session.exp_string("/bye leaves").expect("the remark");
    session.exp_string(">>> ").expect("a prompt");
    session.send_control('d').expect("typed");
    session.exp_eof().expect("the end");
}

#[test]
fn settings_and_conversations_are_changed_shown_and_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut session = talk(folder.path(), &[]);
    let wrong = say(&mut session, "/set temperature hot");
    assert!(
        wrong.contains("error: ") && wrong.contains("hint: "),
        "{wrong}"
    );
    let wrong = say(&mut session, "/set temperature 1000");
    assert!(wrong.contains("must be between"), "{wrong}");
    say(&mut session, "/set temperature 0.25");
    say(&mut session, "/set system Be terse.");
    let shown = say(&mut session, "/show");
    assert!(
        shown.contains("0.25") && shown.contains("Be terse."),
        "{shown}"
    );
    say(&mut session, "/set ctx 2048");
    let shown = say(&mut session, "/set");
    assert!(shown.contains("2048"), "{shown}");
    for outside in ["8", "99999999"] {
        let refused = say(&mut session, &format!("/set ctx {outside}"));
        assert!(refused.contains("from 16 to 16777216"), "{refused}");
    }
    say(&mut session, "/set max_tokens -1");
    let shown = say(&mut session, "/set");
    assert!(shown.contains("what the context leaves"), "{shown}");
    say(&mut session, "/set ctx 40");
    let long = say(
        &mut session,
        "more than forty tokens, for each of these letters is one",
    );
    assert!(long.contains("error: the prompt has"), "{long}");
    assert!(long.contains("hint: /set ctx 512"), "{long}");
    let back = say(&mut session, "/set ctx");
    assert!(!back.contains("error"), "{back}");
    say(&mut session, "remember me");
    say(&mut session, "/save talk");
    say(&mut session, "/clear");
    let shown = say(&mut session, "/show messages");
    assert!(!shown.contains("remember"), "{shown}");
    say(&mut session, "/load talk");
    let shown = say(&mut session, "/show messages");
    assert!(shown.contains("user: remember me"), "{shown}");
    assert!(shown.contains("assistant: remember me"), "{shown}");
    let unknown = say(&mut session, "/frobnicate");
    assert!(unknown.contains("no command /frobnicate"), "{unknown}");
    leave(session, "/bye");

    let data = folder.path().join(".local/share/shimmy/chats/talk.json");
    let kept: Value = serde_json::from_slice(&std::fs::read(data).expect("kept")).expect("JSON");
    assert_eq!(kept["system"], "Be terse.");
    assert_eq!(kept["messages"][0]["content"], "remember me");
}

#[test]
fn what_was_typed_is_there_the_next_time_unless_it_is_not_wanted() {
    let folder = tempfile::tempdir().expect("a folder");
    let history = folder.path().join(".local/state/shimmy/history");
    let mut session = talk(folder.path(), &["stub", "--no-history"]);
    say(&mut session, "a secret");
    leave(session, "/bye");
    assert!(!history.exists());
    let mut session = talk(folder.path(), &["stub"]);
    say(&mut session, "seldom heard");
    leave(session, "/bye");
    assert!(
        std::fs::read_to_string(&history)
            .expect("kept")
            .contains("seldom heard")
    );
    let mut session = talk(folder.path(), &["stub"]);
    // The arrow up, twice: past /bye.
    session.send("\x1b[A\x1b[A").expect("typed");
    session.send_line("").expect("typed");
    session.exp_string("\n").expect("the end of the line");
    session.exp_string("seldom heard").expect("the answer");
    session.exp_string(">>> ").expect("a prompt");
    leave(session, "/bye");
}

#[test]
fn a_text_of_several_lines_is_one_message() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut session = talk(folder.path(), &["stub"]);
    for line in ["\"\"\"one", "two"] {
        session.send_line(line).expect("typed");
        session
            .exp_string("... ")
            .expect("the prompt of a further line");
    }
    session.send_line("three\"\"\"").expect("typed");
    session.exp_string("\n").expect("the end of the line");
    session
        .exp_string("one\r\ntwo\r\nthree\r\n")
        .expect("the answer");
    session.exp_string(">>> ").expect("a prompt");
    leave(session, "/bye");
}

#[test]
fn a_pipe_gets_one_answer_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    for (args, input, expected) in [
        (&["run"][..], "hello", "hello"),
        (&["chat", "stub"], "/bye", "/bye"),
        (&["run", "stub", "why", "not"], "", "why not"),
        (
            &["run", "stub", "sum", "up:"],
            "the text",
            "sum up:\n\nthe text",
        ),
    ] {
        let outcome = run_with_input(here, args, input);
        let said = (
            outcome.code,
            outcome.stdout.as_str(),
            outcome.stderr.as_str(),
        );
        assert_eq!(said, (Some(0), expected, ""), "{args:?}");
    }
    let nothing = run_with_input(here, &["run"], " \n");
    assert_eq!(nothing.code, Some(2));
    assert!(nothing.stderr.contains("hint: "), "{}", nothing.stderr);
}

/// All that a command writes to a terminal of this kind.
fn shown(args: &[&str], variables: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = shimmy(folder.path());
    command.env_remove("NO_COLOR").args(args);
    command.envs(variables.iter().copied());
    let mut session = spawn_command(command, Some(MILLISECONDS)).expect("a terminal");
    session.exp_eof().expect("the end")
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let args = ["doctor", "--bind", "127.0.0.1:0"];
    for args in [&args[..], &["serve", "--ctx", "many"]] {
        let colourful = shown(args, &[("TERM", "xterm")]);
        assert!(colourful.contains("\x1b["), "{args:?}: {colourful:?}");
        for plain in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let text = shown(args, &[("TERM", "xterm"), plain]);
            assert!(!text.contains('\x1b'), "{args:?} {plain:?}: {text:?}");
        }
    }
}

#[test]
fn a_dumb_terminal_is_talked_with_plainly() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = shimmy(folder.path());
    command
        .env_remove("NO_COLOR")
        .env("TERM", "dumb")
        .arg("run");
    let mut session = spawn_command(command, Some(MILLISECONDS)).expect("a terminal");
    let before = session.exp_string(">>> ").expect("a prompt");
    session.send_line("hello").expect("typed");
    let between = session.exp_string(">>> ").expect("a prompt");
    assert_eq!(between, "hello\r\n");
    session.send_line("/bye").expect("typed");
    let after = session.exp_eof().expect("the end");
    assert!(!(before + &between + &after).contains('\x1b'));
}

#[test]
fn a_command_that_is_interrupted_ends_by_the_signal() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = shimmy(folder.path());
    command.args(["generate", "--ctx", "300000"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin
        .write_all("lorem ipsum ".repeat(10_000).as_bytes())
        .expect("written");
    drop(stdin);
    // It is in the middle of its answer, which is longer than what a pipe holds.
    let mut stdout = child.stdout.take().expect("piped");
    stdout.read_exact(&mut [0]).expect("a beginning");
    let sent = Command::new("kill")
        .args(["-s", "INT", &child.id().to_string()])
        .status();
    assert!(sent.expect("kill").success());
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).expect("the rest");
    // What shells call 130, and what ends a script's loop.
    assert_eq!(child.wait().expect("an end").signal(), Some(2));
}
