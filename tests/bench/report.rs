//! Stats: medians, spread, and whether a goal is reached.

/// The measured rounds of one contestant in one workload.
#[derive(Clone, Debug)]
pub struct Series {
    pub name: String,
    pub values: Vec<f64>,
}

impl Series {
    pub fn new(name: impl Into<String>) -> Series {
        Series {
            name: name.into(),
            values: Vec::new(),
        }
    }

    pub fn median(&self) -> f64 {
        median(&self.values)
    }
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// The value below which `share` of the values lie; `sorted` ascends.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted
        .get(((sorted.len() as f64 * share) as usize).min(last))
        .copied()
        .unwrap_or(f64::NAN)
}

/// `median (least..most)`, as text.
pub fn spread(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!(
        "{} ({}..{})",
        short(median(values)),
        short(least),
        short(most)
    )
}

/// About three significant digits.
pub fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// A bound that must be reached, and one that we aim at.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    AtLeast(f64, f64),
    AtMost(f64, f64),
}

impl Goal {
    pub fn judge(self, value: f64) -> String {
        let (word, must, aim, reaches): (_, _, _, fn(f64, f64) -> bool) = match self {
            Goal::AtLeast(must, aim) => ("at least", must, aim, |value, goal| value >= goal),
            Goal::AtMost(must, aim) => ("at most", must, aim, |value, goal| value <= goal),
        };
        let verdict = if reaches(value, aim) {
            "reached"
        } else if reaches(value, must) {
            "reached, the aim not yet"
        } else {
            "MISSED"
        };
        let aim = if must == aim {
            String::new()
        } else {
            format!(", aim {}", short(aim))
        };
        format!("{verdict} ({word} {}{aim})", short(must))
    }
}

/// Prints a figure and its goal: `what  value  verdict`.
pub fn verdict(what: &str, value: f64, unit: &str, goal: Goal) {
    println!(
        "  {what:<44} {:>8} {unit:<6} {}",
        short(value),
        goal.judge(value)
    );
}
