//! The program's command line.

use shared::testing::program::answers_on_its_command_line;

#[test]
fn the_program_says_what_it_is_how_it_is_and_what_is_wrong() {
    answers_on_its_command_line(env!("CARGO_BIN_EXE_notifier"), "notifier", env!("CARGO_PKG_VERSION"));
}
