//! The ratios as a picture: a bar for each figure and peer, to the left or the right of 1 on a
//! logarithmic scale. One file, readable without anything else.

use std::fmt::Write as _;

use super::results::{Results, Row};
use super::stats::Summary;
use super::table::number;
use super::workloads::{Figure, MEMORY};

const WIDTH: f64 = 1200.0;
/// Where the bars' area begins and ends.
const LEFT: f64 = 490.0;
const RIGHT: f64 = 1010.0;
const TOP: f64 = 84.0;
const BAR: f64 = 16.0;
const GAP: f64 = 7.0;
/// Ratios beyond this are drawn at the edge; their label has the number.
const FARTHEST: f64 = 128.0;

const BETTER: &str = "#1a7f5a";
const WORSE: &str = "#c0392b";
const EVEN: &str = "#7a7a7a";

/// The picture; `subtitle` says what was measured where.
pub(super) fn svg(results: &Results, subtitle: &str) -> String {
    let rows: Vec<Row> = results.rows().into_iter().filter(is_drawn).collect();
    let scale = Scale::of(&rows);
    let mut body = String::new();
    let mut y = TOP;
    let mut workload = None;
    for row in &rows {
        if workload.replace(row.workload) != Some(row.workload) {
            y += GAP;
            text(&mut body, (16.0, y + 12.0), "b", row.workload.spec().name);
        }
        for (index, ratio) in row.ratios.iter().enumerate() {
            if index == 0 {
                text(&mut body, (LEFT - 8.0, y + 12.0), "l", &label(&row.figure));
            }
            let colour = match ratio.is_better(row.figure.better) {
                Some(true) => BETTER,
                Some(false) => WORSE,
                None => EVEN,
            };
            match &ratio.summary {
                Some(summary) => {
                    bar(&mut body, &scale, y, summary, (colour, index));
                    let label = match index {
                        0 => format!("{}\u{d7}", number(summary.median)),
                        _ => format!("{}\u{d7} {}", number(summary.median), ratio.side),
                    };
                    text(&mut body, (RIGHT + 8.0, y + 12.0), "v", &label);
                }
                None => text(
                    &mut body,
                    (RIGHT + 8.0, y + 12.0),
                    "v",
                    &missing(row, index),
                ),
            }
            y += BAR + 2.0;
        }
        y += GAP - 2.0;
    }
    let height = y + 40.0;
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
         <style>text{{fill:#222}}.h{{font-size:18px;font-weight:600}}.b{{font-weight:600}}\
         .l{{text-anchor:end}}.t{{text-anchor:middle;fill:#666}}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    text(&mut picture, (16.0, 28.0), "h", &title(results));
    text(&mut picture, (16.0, 48.0), "s", subtitle);
    scale.draw(&mut picture, y + 8.0);
    picture.push_str(&body);
    picture.push_str("</svg>\n");
    picture
}

fn label(figure: &Figure) -> String {
    format!("{} ({} is better)", figure.name, figure.better)
}

fn title(results: &Results) -> String {
    let peers = results.sides[1..].join(" and ");
    format!("shimmy / {peers}: ratio of each figure, log scale; green: ours is better")
}

/// Memory is drawn where it is what the workload is about.
fn is_drawn(row: &Row) -> bool {
    row.figure.name != MEMORY.name || row.workload.is_about_memory()
}

/// Why there is no ratio to this peer.
fn missing(row: &Row, peer: usize) -> String {
    let cells = [&row.cells[0], &row.cells[peer + 1]];
    let mut reasons = cells
        .into_iter()
        .filter_map(|cell| Some(format!("{}: {}", cell.side, cell.missing?)));
    reasons.next().unwrap_or_else(|| "no ratio".to_owned())
}

/// Where a ratio is drawn.
#[derive(Debug)]
struct Scale {
    /// Powers of 2 at both ends.
    low: f64,
    high: f64,
}

impl Scale {
    /// Wide enough for every ratio with its spread, and for 1 with some room.
    fn of(rows: &[Row]) -> Self {
        let ratios = rows.iter().flat_map(|row| &row.ratios);
        let summaries = ratios.filter_map(|ratio| ratio.summary);
        let ends = summaries.flat_map(|summary| [summary.min, summary.max]);
        let logs: Vec<f64> = ends.map(|end| clamp(end).log2()).collect();
        Self {
            low: logs.iter().copied().fold(-1.0, f64::min).floor(),
            high: logs.iter().copied().fold(1.0, f64::max).ceil(),
        }
    }

    fn x(&self, ratio: f64) -> f64 {
        let share = (clamp(ratio).log2() - self.low) / (self.high - self.low);
        LEFT + share * (RIGHT - LEFT)
    }

    fn draw(&self, picture: &mut String, bottom: f64) {
        let mut power = self.low;
        while power <= self.high {
            let x = self.x(power.exp2());
            let colour = if power == 0.0 { "#222" } else { "#ddd" };
            let _ = writeln!(
                picture,
                "<line x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" stroke=\"{colour}\"/>",
                TOP - 8.0
            );
            let label = if power < 0.0 {
                format!("1/{}", (-power).exp2())
            } else {
                format!("{}", power.exp2())
            };
            text(picture, (x, TOP - 14.0), "t", &label);
            power += 1.0;
        }
    }
}

/// Zero has no logarithm, and a thousandth no place.
fn clamp(ratio: f64) -> f64 {
    ratio.clamp(1.0 / FARTHEST, FARTHEST)
}

/// From 1 to the median, with a line over the spread. The bar of a second peer is paler.
fn bar(body: &mut String, scale: &Scale, y: f64, summary: &Summary, look: (&str, usize)) {
    let (colour, index) = look;
    let (one, end) = (scale.x(1.0), scale.x(summary.median));
    let _ = writeln!(
        body,
        "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{colour}\" fill-opacity=\"{}\"/>",
        one.min(end),
        (one - end).abs().max(1.0),
        if index == 0 { "0.9" } else { "0.55" },
    );
    let middle = y + BAR / 2.0;
    let _ = writeln!(
        body,
        "<line x1=\"{:.1}\" y1=\"{middle:.1}\" x2=\"{:.1}\" y2=\"{middle:.1}\" stroke=\"#222\"/>",
        scale.x(summary.min),
        scale.x(summary.max),
    );
}

fn text(out: &mut String, (x, y): (f64, f64), class: &str, content: &str) {
    let content = escape(content);
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{content}</text>"
    );
}

/// Source: XML 1.0, section 2.4; characters that XML does not allow are left out.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            char if char.is_control() => {}
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use roxmltree::Document;

    use super::super::results::tests::results;
    use super::super::workloads::Workload;
    use super::*;

    #[test]
    fn the_picture_is_xml_with_a_bar_for_each_ratio() {
        let picture = svg(&results(), "a <model> & \u{1}a machine");
        let document = Document::parse(&picture).expect("well-formed XML");
        let root = document.root_element();
        assert_eq!(root.tag_name().name(), "svg");
        let bars = root
            .descendants()
            .filter(|node| node.has_attribute("fill-opacity"));
        // Health, first token and memory beside the first peer; nothing else has a ratio.
        assert_eq!(bars.count(), 3);
        let texts: Vec<&str> = root.descendants().filter_map(|node| node.text()).collect();
        assert!(texts.contains(&"a <model> & a machine"));
        assert!(texts.contains(&"0.025\u{d7}"));
        assert!(texts.contains(&"shimmy: not supported"));
        assert!(texts.contains(&"peer-tuned: failed"));
        assert!(texts.contains(&"no ratio"));
    }

    #[test]
    fn every_label_has_room() {
        for workload in Workload::ALL {
            let spec = workload.spec();
            for figure in spec.figures.iter().chain([&MEMORY]) {
                let letters = spec.name.len() + label(figure).len();
                // A wide letter of this size is about 6.5 units.
                assert!(
                    letters as f64 * 6.5 + 32.0 <= LEFT,
                    "{} {}",
                    spec.name,
                    figure.name
                );
            }
        }
    }

    #[test]
    fn nothing_is_drawn_outside_and_the_sides_of_one_are_right() {
        let rows = results().rows();
        let scale = Scale::of(&rows);
        for ratio in [0.0, 1e-9, 0.02, 1.0, 3.0, 1e9, f64::INFINITY] {
            let wide = Scale {
                low: -7.0,
                high: 7.0,
            };
            assert!((LEFT..=RIGHT).contains(&wide.x(ratio)), "{ratio}");
        }
        assert!(scale.x(0.5) < scale.x(1.0) && scale.x(1.0) < scale.x(2.0));
        assert!(scale.x(0.025) >= LEFT);
    }
}
