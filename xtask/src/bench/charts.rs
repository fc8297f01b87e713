//! Results as bars: for each figure that we set ourselves a budget for, every subject's median and range.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::results::{Figure, Results};
use super::subject::Subject;

/// One figure: where it stands in the results, what it is called, and digits behind the point.
struct Panel {
    scenario: &'static str,
    /// How the load's name begins.
    load: &'static str,
    phase: &'static str,
    figure: &'static str,
    title: &'static str,
    digits: usize,
}

const PANELS: &[Panel] = &[
    panel("idle", "", "idle", "bytesPerConnection", "Memory of an idle session, bytes", 0),
    panel("idle", "", "idle", "serverCpuPercent", "CPU for heartbeats, % of a core", 2),
    panel("storm", "", "connect", "cpuMicrosPerHandshake", "CPU of a handshake and join, flat out, µs", 0),
    panel("storm", "", "back at 2000/s", "cpuMicrosPerHandshake", "CPU of the same at 2,000 a second, µs", 0),
    panel(
        "hot-room",
        "1 room of 5000",
        "10/s",
        "cpuMicrosPerDelivery",
        "CPU of a delivery, room of 5,000, 10/s, µs",
        2,
    ),
    panel(
        "hot-room",
        "1 room of 5000",
        "50/s",
        "cpuMicrosPerDelivery",
        "CPU of a delivery, room of 5,000, 50/s, µs",
        2,
    ),
    panel("hot-room", "1 room of 5000", "10/s", "lastP99Ms", "Last of 5,000 members, 10/s, p99 in ms", 0),
    panel("hot-room", "1 room of 5000", "50/s", "lastP99Ms", "Last of 5,000 members, 50/s, p99 in ms", 0),
    panel(
        "many-rooms",
        "100 rooms of 1",
        "1000/s",
        "cpuMicrosPerDelivery",
        "CPU of a message, 100 rooms of one, µs",
        0,
    ),
    panel(
        "many-rooms",
        "19000 rooms of 1",
        "1000/s",
        "cpuMicrosPerDelivery",
        "CPU of a message, 19,000 rooms of one, µs",
        0,
    ),
    panel(
        "many-rooms",
        "1900 rooms of 10",
        "300/s",
        "cpuMicrosPerDelivery",
        "CPU of a delivery, 1,900 rooms of ten, µs",
        0,
    ),
    panel("many-rooms", "100 rooms of 1", "1000/s", "p99Ms", "Publish to delivery, 100 rooms of one, p99 in ms", 1),
    panel("echo", "1000 rooms of 1, 64", "1000/s", "cpuMicrosPerDelivery", "CPU of an echo, 64 bytes, µs", 0),
    panel("echo", "1000 rooms of 1, 1024", "1000/s", "cpuMicrosPerDelivery", "CPU of an echo, 1 KiB, µs", 0),
];

const WIDTH: i32 = 960;
const COLUMNS: i32 = 2;
const BAR: i32 = 18;
const HEAD: i32 = 34;
/// For the subject's name, and for the figure behind the longest bar.
const NAME: i32 = 90;
const VALUE: i32 = 110;
const INK: RGBColor = RGBColor(60, 60, 60);
const OURS: RGBColor = RGBColor(0, 114, 178);
const THEIRS: RGBColor = RGBColor(190, 190, 190);

const fn panel(
    scenario: &'static str,
    load: &'static str,
    phase: &'static str,
    figure: &'static str,
    title: &'static str,
    digits: usize,
) -> Panel {
    Panel { scenario, load, phase, figure, title, digits }
}

impl Panel {
    /// Every subject's figure, ours first.
    fn bars<'a>(&self, results: &'a Results) -> Vec<(&'a str, &'a Figure)> {
        let rows = results
            .rows
            .iter()
            .filter(|row| row.scenario == self.scenario && row.load.starts_with(self.load) && row.phase == self.phase);
        rows.filter_map(|row| Some((&*row.subject, row.figures.get(self.figure)?))).collect()
    }
}

/// The picture as SVG; none where no figure of it was measured.
pub(crate) fn draw(results: &Results) -> Result<Option<String>> {
    let panels: Vec<_> =
        PANELS.iter().map(|panel| (panel, panel.bars(results))).filter(|(_, bars)| !bars.is_empty()).collect();
    if panels.is_empty() {
        return Ok(None);
    }
    let mut text = String::new();
    drawing(&panels, &mut text).map_err(|error| anyhow!("cannot draw: {error}"))?;
    Ok(Some(text))
}

type Bars<'a> = (&'a Panel, Vec<(&'a str, &'a Figure)>);

fn drawing(panels: &[Bars<'_>], text: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let count = |number: usize| i32::try_from(number);
    let most = count(panels.iter().map(|(_, bars)| bars.len()).max().unwrap_or(0))?;
    let (height, width) = (HEAD + most * BAR + 14, WIDTH / COLUMNS);
    let rows = count(panels.len().div_ceil(COLUMNS as usize))?;
    let area = SVGBackend::with_string(text, (WIDTH as u32, (rows * height) as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    for (number, (panel, bars)) in (0..).zip(panels) {
        let (column, row) = (number % COLUMNS, number / COLUMNS);
        let corner = (column * width, row * height);
        let part = area.clone().shrink((corner.0 as u32, corner.1 as u32), (width as u32, height as u32));
        one(&part, panel, bars, width)?;
    }
    area.present()?;
    Ok(())
}

fn one(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    panel: &Panel,
    bars: &[(&str, &Figure)],
    width: i32,
) -> Result<(), Box<dyn std::error::Error>> {
    let font = |size: i32| ("sans-serif", size).into_font().color(&INK);
    area.draw(&Text::new(panel.title, (10, 10), font(14)))?;
    let longest = bars.iter().map(|(_, figure)| figure.max).fold(0.0, f64::max);
    let length =
        |value: f64| if longest > 0.0 { (value / longest * f64::from(width - NAME - VALUE)) as i32 } else { 0 };
    for (number, (subject, figure)) in (0..).zip(bars) {
        let (top, ours) = (HEAD + number * BAR, *subject == Subject::Ours.name());
        let middle = top + BAR / 2;
        let name = font(12).pos(Pos::new(HPos::Right, VPos::Center));
        area.draw(&Text::new((*subject).to_owned(), (NAME - 6, middle), name))?;
        let end = NAME + length(figure.median).max(1);
        let colour = if ours { OURS } else { THEIRS };
        area.draw(&Rectangle::new([(NAME, top + 3), (end, top + BAR - 3)], colour.filled()))?;
        let (low, high) = (NAME + length(figure.min), NAME + length(figure.max));
        if high > low {
            area.draw(&PathElement::new([(low, middle), (high, middle)], INK.stroke_width(1)))?;
        }
        let label = format!("{:.*}", panel.digits, figure.median);
        let value = font(12).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(label, (high.max(end) + 6, middle), value))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::results::Row;
    use super::*;

    fn row(subject: &str, bytes: f64) -> Row {
        let figure = Figure { median: bytes, min: bytes * 0.9, max: bytes * 1.1, values: vec![bytes] };
        let figures = BTreeMap::from([("bytesPerConnection".to_owned(), figure)]);
        let [scenario, load, phase, subject] = ["idle", "1900 rooms of 10", "idle", subject].map(str::to_owned);
        Row { scenario, load, phase, subject, rounds: 1, figures }
    }

    #[test]
    fn each_subject_has_a_bar_with_its_median_and_what_was_not_measured_has_none() {
        let results = Results { rows: vec![row("wscluster", 555.0), row("node", 6158.0)], ..Results::default() };
        let picture = draw(&results).unwrap().unwrap();
        for word in ["wscluster", "555", "node", "6158", PANELS[0].title] {
            assert!(picture.contains(word), "{word}");
        }
        assert!(!picture.contains(PANELS[1].title));
        assert_eq!(draw(&Results::default()).unwrap(), None);
    }
}
