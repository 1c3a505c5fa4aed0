//! Running another program with limits on its time and its output. The program and every process that it
//! has started are ended afterwards.

use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::sys;

/// The most that is read of a program's stderr.
const STDERR_BYTES_MAX: u64 = 64 << 10;
/// The pause between two checks whether a program that has closed its output has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

pub(crate) struct Output {
    pub status: ExitStatus,
    /// At most as many bytes as were allowed. A program that writes more is ended by SIGPIPE.
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Runs a program to its end, with `input` on its stdin, and what it prints is nobody's. A program that does
/// not read its input is no error; what it leaves running goes on. `None` as for [`run`].
///
/// Errors: the program could not be started.
pub(crate) fn run_unheard(
    command: &mut Command,
    input: &[u8],
    timeout: Duration,
) -> io::Result<Option<ExitStatus>> {
    let give_up_at = Instant::now() + timeout;
    sys::in_own_session(command);
    command.stdin(Stdio::piped());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut group = Group(Some(command.spawn()?));
    write_aside(group.input(), input.to_vec())?;
    group.wait_until(give_up_at)
}

/// Runs a program to its end, without input. `None` if it did not end in time and was killed, with every
/// process that it has started.
///
/// Errors: the program could not be started.
pub(crate) fn run(
    command: &mut Command,
    stdout_bytes_max: u64,
    timeout: Duration,
) -> io::Result<Option<Output>> {
    let give_up_at = Instant::now() + timeout;
    // So that every process that it starts can be killed with it.
    sys::in_own_session(command);
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = Group(Some(command.spawn()?));
    let (stdout, stderr) = group.outputs();
    let stdout = read_aside(stdout, stdout_bytes_max)?;
    let stderr = read_aside(stderr, STDERR_BYTES_MAX)?;
    let left = || give_up_at.saturating_duration_since(Instant::now());
    let (Ok(stdout), Ok(stderr)) = (stdout.recv_timeout(left()), stderr.recv_timeout(left()))
    else {
        return Ok(None);
    };
    let status = group.wait_until(give_up_at)?;
    Ok(status.map(|status| Output {
        status,
        stdout,
        stderr,
    }))
}

/// Reads a pipe on a thread of its own: one thread that reads one pipe would not empty the other.
fn read_aside(
    pipe: Option<impl Read + Send + 'static>,
    bytes_max: u64,
) -> io::Result<mpsc::Receiver<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel();
    let read = move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // The bytes before an error count; the exit status shows whether the program failed.
            let _ = pipe.take(bytes_max).read_to_end(&mut bytes);
        }
        let _ = sender.send(bytes); // fails if the time is up and the caller has gone on
    };
    thread::Builder::new()
        .name("child-pipe".to_owned())
        .spawn(read)?;
    Ok(receiver)
}

/// Writes a pipe on a thread of its own, which ends at the latest when nobody has the pipe's other end.
fn write_aside(pipe: Option<impl Write + Send + 'static>, input: Vec<u8>) -> io::Result<()> {
    let write = move || {
        if let Some(mut pipe) = pipe {
            // The program may end without reading: its exit status says whether it was content.
            let _ = pipe.write_all(&input);
        }
    };
    thread::Builder::new()
        .name("child-pipe".to_owned())
        .spawn(write)?;
    Ok(())
}

/// A process and every process that it has started. Dropping this kills them, unless
/// [`Group::wait_until`] has seen the first one end.
struct Group(Option<Child>);

impl Group {
    fn input(&mut self) -> Option<impl Write + Send + 'static> {
        self.0.as_mut().and_then(|child| child.stdin.take())
    }

    fn outputs(
        &mut self,
    ) -> (
        Option<impl Read + Send + 'static>,
        Option<impl Read + Send + 'static>,
    ) {
        let child = self.0.as_mut();
        child.map_or((None, None), |child| {
            (child.stdout.take(), child.stderr.take())
        })
    }

    /// `None` if the process still runs at that time.
    fn wait_until(mut self, give_up_at: Instant) -> io::Result<Option<ExitStatus>> {
        while let Some(child) = &mut self.0 {
            if let Some(status) = child.try_wait()? {
                self.0 = None; // another process may get its number from now on
                return Ok(Some(status));
            }
            if give_up_at <= Instant::now() {
                break;
            }
            thread::sleep(LOOK_AGAIN);
        }
        Ok(None)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // Errors mean that there is nothing left to kill or to wait for.
            let _ = sys::kill_group(child.id());
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn both_outputs_and_the_status_are_returned() {
        let output = run(&mut shell("echo out; echo err >&2; exit 3"), 100, LONG)
            .unwrap()
            .unwrap();
        assert_eq!(
            (&output.stdout[..], &output.stderr[..]),
            (&b"out\n"[..], &b"err\n"[..])
        );
        assert_eq!(output.status.code(), Some(3));
        assert!(run(&mut Command::new("/nonexistent/program"), 1, LONG).is_err());
    }

    #[test]
    fn input_arrives_whole_and_need_not_be_read() {
        let input = vec![b'x'; 300_000];
        let ended = |script| run_unheard(&mut shell(script), &input, LONG).unwrap();
        assert!(ended("test $(wc -c) = 300000").unwrap().success());
        assert_eq!(ended("test $(wc -c) = 1").unwrap().code(), Some(1));
        assert!(ended("exit 0").unwrap().success());
        let short = Duration::from_millis(300);
        let hung = run_unheard(&mut shell("sleep 600"), &input, short).unwrap();
        assert!(hung.is_none());
    }

    #[test]
    fn what_a_program_leaves_running_or_prints_without_end_keeps_nobody_waiting() {
        let began = Instant::now();
        for script in ["sleep 100 & exit 0", "yes | head -c 1000000; exit 0"] {
            let ended = run_unheard(&mut shell(script), b"", LONG).unwrap();
            assert!(ended.unwrap().success(), "{script}");
        }
        assert!(began.elapsed() < LONG);
    }

    #[test]
    fn a_flood_is_cut() {
        let output = run(&mut shell("exec yes"), 1000, LONG).unwrap().unwrap();
        assert_eq!(output.stdout.len(), 1000);
        assert!(!output.status.success());
    }

    #[test]
    fn what_hangs_is_killed_with_its_children() {
        let short = Duration::from_millis(300);
        let began = Instant::now();
        let script = "sleep 600 & echo $!; exec >&- 2>&-; wait";
        for script in ["sleep 600", "sleep 600 & wait", script] {
            assert!(
                run(&mut shell(script), 100, short).unwrap().is_none(),
                "{script}"
            );
        }
        assert!(began.elapsed() < LONG);
    }
}
