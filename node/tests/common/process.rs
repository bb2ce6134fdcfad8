//! A child process with its log in a file.
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Lines of a log that a failing test prints.
const LOG_LINES: usize = 60;

/// A running program: ended when dropped, its log printed if that happens while a test fails.
#[derive(Debug)]
pub(crate) struct Program {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts `command` with both outputs in `dir/<name>.log`.
    pub(crate) fn start(name: &str, command: &mut Command, dir: &Path) -> Self {
        let log = dir.join(format!("{name}.log"));
        let file = File::create(&log).unwrap_or_else(|e| panic!("create {}: {e}", log.display()));
        let both = file.try_clone().expect("a file's handle can be cloned");
        command.stdin(Stdio::null()).stdout(both).stderr(file);
        let child = command.spawn().unwrap_or_else(|e| panic!("start {name} ({command:?}): {e}"));
        Self { name: name.to_owned(), child, log }
    }

    /// Why the program no longer runs, if so.
    pub(crate) fn ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(Some(status)) => Some(format!("{} ended: {status}", self.name)),
            Ok(None) => None,
            Err(error) => Some(format!("{} cannot be watched: {error}", self.name)),
        }
    }

    fn print_log(&self) {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        eprintln!("--- the last of {}'s {} lines of log", self.name, lines.len());
        for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
            eprintln!("{line}");
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_log();
        }
        // It may have ended by itself; what is left of it goes with its temporary directory.
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            eprintln!("end {}: {error}", self.name);
        }
    }
}

/// Where an installed program is, or a panic that says which Debian package has it.
pub(crate) fn installed(program: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|p| p.is_file())
        .unwrap_or_else(|| panic!("{program} is not on the PATH; this test needs the Debian package {package}"))
}

/// Standard output of a command that must succeed.
pub(crate) fn output_of(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|e| panic!("run {command:?}: {e}"));
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let status = done.status;
    assert!(status.success(), "{command:?}: {status}\n{said}\n{}", String::from_utf8_lossy(&done.stderr));
    said
}
