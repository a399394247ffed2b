//! A measured figure, and the table of all.

use std::fmt::Write as _;

use serde::Serialize;

/// What a figure is to stay below.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit(pub f64);

/// What was measured of one thing, over some runs.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// What it is.
    pub name: &'static str,
    /// In what it is counted: `ms`, `MB`, `%`, or `ratio`.
    pub unit: &'static str,
    /// Least of all runs.
    pub min: f64,
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// Largest of all runs.
    pub max: f64,
    /// How many there were.
    pub runs: usize,
    /// What the median is to stay below, where that was promised.
    #[serde(skip)]
    pub limit: Option<Limit>,
}

impl Figure {
    /// From what each run gave.
    pub fn of(name: &'static str, unit: &'static str, values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (sorted.get(sorted.len().saturating_sub(1) / 2), sorted.get(sorted.len() / 2));
        let round = |value: Option<&f64>| (value.copied().unwrap_or_default() * 1000.0).round() / 1000.0;
        let median = (round(low) + round(high)) / 2.0;
        Self { name, unit, min: round(sorted.first()), median, max: round(sorted.last()), runs: sorted.len(), limit: None }
    }

    /// With a limit for the median.
    #[must_use]
    pub fn at_most(mut self, limit: f64) -> Self {
        self.limit = Some(Limit(limit));
        self
    }

    /// Whether the median is above the limit.
    pub fn is_over(&self) -> bool {
        self.limit.is_some_and(|Limit(limit)| self.median > limit)
    }
}

/// All figures as text in columns.
pub fn table(figures: &[Figure]) -> String {
    let mut text = format!("{:<28}{:<7}{:>10}{:>10}{:>10}{:>6}{:>9}\n", "name", "unit", "min", "median", "max", "runs", "limit");
    for figure in figures {
        let limit = figure.limit.map(|Limit(limit)| limit.to_string()).unwrap_or_default();
        let over = if figure.is_over() { "  OVER" } else { "" };
        let (min, median, max) = (figure.min, figure.median, figure.max);
        let _ =
            writeln!(text, "{:<28}{:<7}{min:>10.2}{median:>10.2}{max:>10.2}{:>6}{limit:>9}{over}", figure.name, figure.unit, figure.runs);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_taken_from_sorted_runs() {
        let odd = Figure::of("a", "ms", &[9.0, 1.0, 5.0]).at_most(5.0);
        assert_eq!((odd.min, odd.median, odd.max, odd.runs, odd.is_over()), (1.0, 5.0, 9.0, 3, false));
        let even = Figure::of("b", "ms", &[4.0, 1.0, 2.0, 3.0]).at_most(2.4);
        assert_eq!((even.median, even.is_over()), (2.5, true));
        assert!(table(&[odd, even]).lines().any(|line| line.ends_with("OVER")));
        let json = serde_json::to_value(Figure::of("c", "%", &[0.5])).unwrap_or_default();
        assert_eq!(json, serde_json::json!({"name": "c", "unit": "%", "min": 0.5, "median": 0.5, "max": 0.5, "runs": 1}));
    }
}
