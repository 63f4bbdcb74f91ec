//! Each wall by itself: what it holds back, and that without it the same is possible.

use std::process::Command;

use super::super::walls::{Walls, landlock, raise, seccomp, try_gaps};

/// The child of the test below: this test, run alone in another process. It raises the walls that the environment
/// names, tries everything, and says on its standard error what it could. Run among the others it does nothing.
#[test]
fn tries() {
    let Ok(which) = std::env::var("DDU_TEST_WALLS") else { return };
    let raised = match which.as_str() {
        "none" => true,
        "landlock" => rustix::thread::set_no_new_privs(true).is_ok() && landlock(),
        "seccomp" => seccomp(),
        both => {
            let walls = raise();
            both == "both" && walls.landlock && walls.seccomp
        }
    };
    eprintln!("raised {raised}; could {}", try_gaps(&std::env::temp_dir()).join(", "));
}

fn told(which: &str) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "io::workbook::tests::walls::tries", "--nocapture"])
        .env("DDU_TEST_WALLS", which)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    said.lines().find(|line| line.starts_with("raised")).unwrap_or_else(|| panic!("{said}")).to_owned()
}

/// Without a wall all of it can be done, so each line below is the work of the wall that it names.
#[test]
fn each_wall_holds_back_what_the_other_does_not_reach() {
    let all = "open a socket, read another file, write another file, start a program";
    assert_eq!(told("none"), format!("raised true; could {all}"));
    // Landlock knows no datagrams and no Unix sockets; those are the filter's.
    assert_eq!(told("landlock"), "raised true; could open a socket");
    assert_eq!(told("seccomp"), "raised true; could ");
    assert_eq!(told("both"), "raised true; could ");
}

#[test]
fn an_operator_reads_what_holds_the_reader_or_what_it_could_do() {
    let whole = Walls { landlock: true, seccomp: true, gaps: Vec::new() };
    assert!(whole.in_words().starts_with("held by Landlock and seccomp: it opens no file"));
    let none = Walls { gaps: vec!["open a socket".to_owned()], ..Walls::default() };
    let words = none.in_words();
    assert!(words.contains("could open a socket") && words.contains("Linux 5.13"), "{words}");
}
