//! Is something growing? A straight line through what was measured, and how sure that line is. Pure.

/// A line fitted to values over time, by least squares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Trend {
    /// The values' mean.
    pub(crate) mean: f64,
    /// How much the line rises from the first moment to the last.
    pub(crate) growth: f64,
    /// The standard error of that: values that jump about say little about where they go.
    pub(crate) error: f64,
}

/// How many standard errors a growth has to be away from none to be believed.
const ERRORS: f64 = 3.0;

impl Trend {
    /// Of moments and values; of fewer than three there is no telling.
    pub(crate) fn of(points: &[(f64, f64)]) -> Trend {
        let count = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count.max(1.0);
        let (middle, mean) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = points.iter().map(|(at, _)| (at - middle).powi(2)).sum();
        if points.len() < 3 || spread == 0.0 {
            return Trend { mean, growth: 0.0, error: f64::INFINITY };
        }
        let slope = points.iter().map(|(at, value)| (at - middle) * (value - mean)).sum::<f64>() / spread;
        let missed: f64 = points.iter().map(|(at, value)| (value - mean - slope * (at - middle)).powi(2)).sum();
        let span = points[points.len() - 1].0 - points[0].0;
        let error = (missed / (count - 2.0) / spread).sqrt();
        Trend { mean, growth: slope * span, error: error * span }
    }

    /// Whether it grows by no more than a share of its mean, or an amount that would matter to nobody.
    pub(crate) fn is_flat(&self, bound: Bound) -> bool {
        self.growth <= bound.of(self.mean) || self.growth <= ERRORS * self.error
    }
}

/// How much something may grow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bound {
    /// A share of its mean.
    pub(crate) share: f64,
    /// And so much in any case.
    pub(crate) least: f64,
}

impl Bound {
    pub(crate) fn of(self, mean: f64) -> f64 {
        (mean * self.share).max(self.least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Bound = Bound { share: 0.05, least: 1.0 };

    fn points(of: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        (0..100).map(|at| (f64::from(at), of(f64::from(at)))).collect()
    }

    /// Up and down by so much, in no order that has a trend.
    fn noise(at: f64) -> f64 {
        (at * 12.9898).sin()
    }

    #[test]
    fn a_line_is_found_in_noise() {
        let trend = Trend::of(&points(|at| 200.0 + at * 0.5 + noise(at)));
        assert!((trend.growth - 49.5).abs() < 1.0 && (trend.mean - 224.75).abs() < 0.5, "{trend:?}");
        assert!(trend.error < 1.0 && !trend.is_flat(BOUND), "{trend:?}");
    }

    #[test]
    fn what_is_level_or_falls_is_flat_and_so_is_a_growth_within_its_bound() {
        for of in [|_| 200.0, |at: f64| 200.0 + 20.0 * noise(at), |at: f64| 200.0 - at, |at: f64| 200.0 + at * 0.09] {
            assert!(Trend::of(&points(of)).is_flat(BOUND));
        }
        assert!(!Trend::of(&points(|at| 200.0 + at * 0.11)).is_flat(BOUND));
    }

    #[test]
    fn of_two_values_there_is_no_telling() {
        assert!(Trend::of(&[(0.0, 1.0), (1.0, 100.0)]).is_flat(BOUND));
        assert!(Trend::of(&[]).is_flat(BOUND));
    }
}
