//! The progress of a pull: one line on a terminal, with the rate and the time left, and nothing of it
//! anywhere else.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::thread;

use super::Target;
use super::shelf::{Server, Shelf};
use crate::client::PATIENCE;
use crate::dice::noise;

/// Runs the words after the second with one of its streams on a terminal of so many columns, whose bytes
/// are copied to stdout as they come. The other stream is this program's stderr. It ends as the command ends.
const ON_TERMINAL: &str = r#"
import fcntl, os, pty, struct, subprocess, sys, termios
terminal, its = pty.openpty()
fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, int(sys.argv[2]), 0, 0))
streams = {"stdout": sys.stderr, "stderr": sys.stderr, sys.argv[1]: its}
command = subprocess.Popen(sys.argv[3:], stdin=subprocess.DEVNULL, **streams)
os.close(its)
while True:
    try:
        shown = os.read(terminal, 4096)
    except OSError:
        break
    if not shown:
        break
    os.write(1, shown)
sys.exit(command.wait())
"#;

const COLUMNS: usize = 100;
/// What is drawn while the first of two episodes is here: 300 kB of 1 MB.
const FIRST_IS_HERE: &str = "[#########---------------------]   30 %  300.0 kB of 1.0 MB, ";

/// A pull with one stream on a terminal.
struct OnTerminal {
    python: Child,
    shows: mpsc::Receiver<Vec<u8>>,
    shown: String,
}

impl OnTerminal {
    fn run(stream: &str, command: &Command) -> OnTerminal {
        let mut python = Command::new("python3")
            .args(["-c", ON_TERMINAL, stream, &COLUMNS.to_string()])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut terminal = python.stdout.take().unwrap();
        let (sender, shows) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = terminal.read(&mut bytes) {
                // A test that has failed hears nothing more.
                let _ = sender.send(bytes[..count].to_vec());
            }
        });
        OnTerminal {
            python,
            shows,
            shown: String::new(),
        }
    }

    /// The lines that were drawn over each other so far, without those that are not all here.
    fn lines(&self) -> Vec<&str> {
        let mut lines: Vec<&str> = self.shown.split('\r').collect();
        lines.retain(|line| line.ends_with("\x1b[K"));
        lines
    }

    /// Waits for the first two different lines that begin so; what follows in each.
    fn two_lines(&mut self, begin: &str) -> [String; 2] {
        loop {
            let lines = self.lines();
            let mut rests: Vec<&str> = lines
                .iter()
                .filter_map(|line| line.strip_prefix(begin)?.strip_suffix("\x1b[K"))
                .collect();
            rests.dedup();
            if let [first, second, ..] = rests[..] {
                return [first.to_owned(), second.to_owned()];
            }
            let more = self.shows.recv_timeout(PATIENCE);
            let more = more.unwrap_or_else(|_| panic!("no such line: {:?}", self.shown));
            self.shown.push_str(str::from_utf8(&more).unwrap());
        }
    }

    /// Waits for the end: what the terminal has shown, and what went into the pipe.
    fn end(mut self) -> (String, String) {
        while let Ok(more) = self.shows.recv_timeout(PATIENCE) {
            self.shown.push_str(str::from_utf8(&more).unwrap());
        }
        let mut piped = String::new();
        let mut pipe = self.python.stderr.take().unwrap();
        pipe.read_to_string(&mut piped).unwrap();
        let status = self.python.wait().unwrap();
        assert!(status.success(), "{status}: {:?}\n{piped}", self.shown);
        (self.shown, piped)
    }
}

fn has_python(test: &str) -> bool {
    let python = Command::new("python3").args(["-c", "import pty"]).status();
    let has = python.is_ok_and(|status| status.success());
    if !has {
        skip!("{test}: it needs python3");
    }
    has
}

fn two_episodes() -> Shelf {
    let mut shelf = Shelf::of(0);
    shelf.put("lab-1/first", &noise(1, 300_000));
    shelf.put("lab-1/second", &noise(2, 700_000));
    shelf
}

/// `48.0 MB/s, 17 s left` in bytes a second and seconds.
fn rate_and_left(text: &str) -> (f64, f64) {
    let (rate, left) = text.split_once("/s, ").expect(text);
    let (amount, unit) = rate.split_once(' ').expect(text);
    let factor = match unit {
        "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        _ => panic!("{text}"),
    };
    let left = left.strip_suffix(" s left").expect(text);
    (
        amount.parse::<f64>().unwrap() * factor,
        left.parse().unwrap(),
    )
}

#[test]
fn a_terminal_shows_rate_and_time_left_and_the_pipe_beside_it_only_the_end() {
    if !has_python("a_terminal_shows_rate_and_time_left") {
        return;
    }
    let (goes_on, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let server = Server::new(two_episodes(), move |head, shelf| {
        if head.target().contains("second") {
            // Its end is as good: the test is over then.
            let _ = gate.lock().unwrap().recv();
        }
        shelf.answer(head)
    });
    let target = Target::new();
    let command = target.command(&server.url, &["--jobs", "1"]);
    let mut pull = OnTerminal::run("stderr", &command);
    let [earlier, later] = pull.two_lines(FIRST_IS_HERE);
    drop(goes_on);
    let (shown, piped) = pull.end();
    for text in [&earlier, &later] {
        let (rate, left) = rate_and_left(text);
        assert!((700_000.0 / rate - left).abs() <= 1.0, "{text}");
    }
    // Nothing came in between, so there is less a second, and more to wait for.
    let (earlier, later) = (rate_and_left(&earlier), rate_and_left(&later));
    assert!(later.0 < earlier.0 && earlier.1 <= later.1, "{shown:?}");
    // One line in one place, which is wiped in the end.
    assert!(
        shown.ends_with("\r\x1b[K") && !shown.contains('\n'),
        "{shown:?}"
    );
    let mut lines = shown
        .split('\r')
        .map(|line| line.trim_end_matches("\x1b[K"));
    assert!(lines.all(|line| line.len() < COLUMNS), "{shown:?}");
    assert_eq!(piped, "2 episodes fetched, 1.0 MB\n");
    target.check(&server.files(), &shown);
}

#[test]
fn without_a_terminal_for_stderr_nothing_is_drawn() {
    let server = Server::good(two_episodes());
    let target = Target::new();
    let ran = target.pull_all(&server.url, &server.files());
    assert_eq!((&*ran.out, &*ran.err), ("2 episodes fetched, 1.0 MB\n", ""));
    if !has_python("without_a_terminal_for_stderr_nothing_is_drawn") {
        return;
    }
    let target = Target::new();
    let pull = OnTerminal::run("stdout", &target.command(&server.url, &[]));
    let (shown, piped) = pull.end();
    assert_eq!((&*shown, &*piped), ("2 episodes fetched, 1.0 MB\r\n", ""));
}
