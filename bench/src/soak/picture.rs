//! Lines over time as an SVG that is read on a light page and on a dark one. Pure.

use std::fmt::Write as _;

/// One line: its name, and its value at each moment, in minutes.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Lines that share an axis.
#[derive(Debug, Clone)]
pub(crate) struct Panel {
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) lines: Vec<Line>,
}

/// All of it.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    pub(crate) title: String,
    pub(crate) subtitle: String,
    /// Until when nothing is judged, in minutes.
    pub(crate) warm_up: f64,
    pub(crate) minutes: f64,
    pub(crate) panels: Vec<Panel>,
}

const WIDTH: f64 = 960.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 24.0;
const HEAD: f64 = 72.0;
const PANEL: f64 = 132.0;
/// From one panel's plot to the next: a title, a legend, the times below.
const BETWEEN: f64 = 60.0;
const FOOT: f64 = 34.0;

/// Colours that are told apart without seeing colours well, each for light and for dark.
const STYLE: &str = "
  svg { color-scheme: light dark; font: 13px system-ui, sans-serif; --page: #fff; --ink: #1c2024; --dim: #60646c;
        --rule: #e0e1e6; --warm: #f4f4f6; --a: #0b62c4; --b: #b3470a; --c: #0f7a5c; }
  @media (prefers-color-scheme: dark) {
    svg { --page: #16181b; --ink: #edeef0; --dim: #a6abb3; --rule: #34383f; --warm: #1f2226; --a: #6cb1ff;
          --b: #ff9d5c; --c: #53d3ac; }
  }
  text { fill: var(--ink); } .dim { fill: var(--dim); } .title { font-size: 18px; font-weight: 600; }
  .name { font-weight: 600; } .page { fill: var(--page); } .warm { fill: var(--warm); }
  .rule { stroke: var(--rule); stroke-width: 1; } path { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
  .a { stroke: var(--a); } .b { stroke: var(--b); stroke-dasharray: 7 2; } .c { stroke: var(--c); stroke-dasharray: 2 2; }
";
const CLASSES: [&str; 3] = ["a", "b", "c"];

impl Picture {
    /// Its text.
    pub(crate) fn svg(&self) -> String {
        let height = HEAD + self.panels.len() as f64 * (PANEL + BETWEEN) + FOOT;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
             aria-label=\"{title}\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
             <rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
             <text class=\"title\" x=\"{LEFT}\" y=\"32\">{title}</text>\n\
             <text class=\"dim\" x=\"{LEFT}\" y=\"54\">{subtitle}</text>\n",
            title = escaped(&self.title),
            subtitle = escaped(&self.subtitle),
        );
        for (number, panel) in self.panels.iter().enumerate() {
            self.panel(&mut out, panel, HEAD + number as f64 * (PANEL + BETWEEN) + BETWEEN / 2.0);
        }
        let _ = writeln!(
            out,
            "<text class=\"dim\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">minutes; what is shaded is not judged</text>\n</svg>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            height - 12.0,
        );
        out
    }

    fn panel(&self, out: &mut String, panel: &Panel, top: f64) {
        let bottom = top + PANEL;
        let highest = panel.lines.iter().flat_map(|line| &line.points).map(|point| point.1).fold(0.0, f64::max);
        let (step, most) = scale(highest, 4);
        let across = |minute: f64| LEFT + minute / self.minutes.max(f64::MIN_POSITIVE) * (WIDTH - LEFT - RIGHT);
        let up = |value: f64| bottom - value / most * PANEL;

        let mut at = LEFT;
        let _ = writeln!(
            out,
            "<rect class=\"warm\" x=\"{LEFT}\" y=\"{top}\" width=\"{:.1}\" height=\"{PANEL}\"/>",
            across(self.warm_up) - LEFT
        );
        let name = format!("{}, {}", panel.title, panel.unit);
        let _ = writeln!(out, "<text class=\"name\" x=\"{at}\" y=\"{:.1}\">{}</text>", top - 10.0, escaped(&name));
        at += name.chars().count() as f64 * 7.6 + 24.0;
        for (line, class) in panel.lines.iter().zip(CLASSES) {
            let _ = writeln!(
                out,
                "<path class=\"{class}\" d=\"M{at:.1} {y:.1}h26\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                at + 32.0,
                top - 10.0,
                escaped(line.name),
                y = top - 14.5,
            );
            at += line.name.chars().count() as f64 * 7.0 + 56.0;
        }
        for tick in ticks(step, most) {
            let (y, text) = (up(tick), number(tick, step));
            let _ = writeln!(
                out,
                "<path class=\"rule\" d=\"M{LEFT} {y:.1}H{:.1}\"/>\
                 <text class=\"dim\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                y + 4.5,
            );
        }
        let (step, _) = scale(self.minutes, 10);
        for tick in ticks(step, self.minutes) {
            let (x, text) = (across(tick), number(tick, step));
            let _ = writeln!(
                out,
                "<path class=\"rule\" d=\"M{x:.1} {bottom:.1}v5\"/>\
                 <text class=\"dim\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
                bottom + 19.0,
            );
        }
        for (line, class) in panel.lines.iter().zip(CLASSES) {
            let mut way = String::new();
            for (minute, value) in &line.points {
                let verb = if way.is_empty() { 'M' } else { 'L' };
                let _ = write!(way, "{verb}{:.1} {:.1}", across(*minute), up(*value));
            }
            if !way.is_empty() {
                let _ = writeln!(out, "<path class=\"{class}\" d=\"{way}\"/>");
            }
        }
    }
}

/// A round step, about so many of which reach the highest value, and the first multiple of it that does.
fn scale(highest: f64, count: u32) -> (f64, f64) {
    if highest <= 0.0 {
        return (1.0, 1.0);
    }
    let rough = highest / f64::from(count);
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(10.0 * power);
    (step, step * (highest / step).ceil().max(1.0))
}

fn ticks(step: f64, most: f64) -> impl Iterator<Item = f64> {
    (0..).map(move |tick| f64::from(tick) * step).take_while(move |tick| *tick <= most + step * 1e-6)
}

/// With as many places as its step needs.
fn number(value: f64, step: f64) -> String {
    let places = (-step.log10().floor()).max(0.0) as usize;
    format!("{value:.places$}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(points: Vec<(f64, f64)>) -> Picture {
        let line = |name| Line { name, points: points.clone() };
        let panel =
            Panel { title: "Memory <& \"more\">", unit: "MiB", lines: vec![line("one"), line("two"), line("three")] };
        Picture {
            title: "a & b".into(),
            subtitle: "<c>".into(),
            warm_up: 1.0,
            minutes: 5.0,
            panels: vec![panel.clone(), panel],
        }
    }

    /// Every element that is opened is closed, in order, and no text holds what has to be escaped.
    fn is_well_formed(svg: &str) {
        let mut open = Vec::new();
        let mut rest = svg;
        while let Some((text, after)) = rest.split_once('<') {
            let plain =
                ["&amp;", "&lt;", "&gt;", "&quot;"].iter().fold(text.to_owned(), |text, known| text.replace(known, ""));
            assert!(!plain.contains(['&', '>']), "{text}");
            let (tag, after) = after.split_once('>').expect("an end");
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            match (tag.strip_prefix('/'), tag.ends_with('/')) {
                (Some(name), _) => assert_eq!(open.pop(), Some(name), "{tag}"),
                (None, true) => {}
                (None, false) => open.push(tag.split([' ', '\n']).next().expect("a name")),
            }
            rest = after;
        }
        assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
    }

    #[test]
    fn it_is_well_formed_whatever_it_shows() {
        for points in [
            vec![],
            vec![(0.0, 0.0)],
            vec![(0.0, 1e9), (5.0, 0.001)],
            (0..500).map(|n| (f64::from(n) / 100.0, 7.0)).collect(),
        ] {
            let svg = picture(points).svg();
            is_well_formed(&svg);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn axes_have_round_steps_that_reach_the_highest_value() {
        for (highest, count, expected) in
            [(97.0, 4, (50.0, 100.0)), (0.0, 4, (1.0, 1.0)), (30.0, 10, (5.0, 30.0)), (3.1, 4, (1.0, 4.0))]
        {
            let (step, most) = scale(highest, count);
            assert!((step - expected.0).abs() < 1e-9 && (most - expected.1).abs() < 1e-9, "{highest}: {step} {most}");
        }
        assert_eq!((number(0.25, 0.05), number(20.0, 5.0)), ("0.25".to_owned(), "20".to_owned()));
    }
}
