//! What every service's program has to say on its command line.

use std::process::{Command, Output};

/// Calls a program in every way that both services know, with nothing but these variables.
pub fn answers_on_its_command_line(path: &str, name: &str, version: &str) {
    let call = |arguments: &[&str], variables: &[(&str, &str)]| -> (i32, String, String) {
        let mut command = Command::new(path);
        command.args(arguments).env_clear().envs(variables.iter().copied());
        let Output { status, stdout, stderr } = command.output().expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (status.code().expect("an exit code"), text(stdout), text(stderr))
    };
    assert_eq!(call(&["--version"], &[]), (0, format!("{name} {version}\n"), String::new()));
    let (code, usage, _) = call(&["--help"], &[]);
    assert!(code == 0 && usage.starts_with(name) && usage.contains("healthcheck"), "{usage}");
    for unknown in [&["serve"][..], &["healthcheck", "readyz"], &["--version", "--help"]] {
        assert_eq!(call(unknown, &[]), (64, String::new(), usage.clone()), "{unknown:?}");
    }
    let (code, _, said) = call(&[], &[("HTTP_ADDR", "nowhere"), ("DRAIN_SECONDS", "-1")]);
    assert!(code == 64 && said.starts_with(name), "{code}: {said}");
    assert!(said.contains("HTTP_ADDR") && said.contains("DRAIN_SECONDS"), "all at once: {said}");
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let nobody = free.expect("a free port").to_string();
    let (code, _, said) = call(&["healthcheck", "livez"], &[("ADMIN_ADDR", &nobody)]);
    assert!(code == 1 && said.contains("ADMIN_ADDR"), "{code}: {said}");
    let (code, _, said) = call(&["healthcheck"], &[("ADMIN_ADDR", "nowhere")]);
    assert!(code == 64 && said.starts_with(name) && said.contains("ADMIN_ADDR"), "{code}: {said}");
}
