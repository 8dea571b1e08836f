//! Lines over columns as SVG, on a logarithmic scale: what the benches' plots share.

use std::fmt::Write;

const LEFT: f64 = 60.0;
const TOP: f64 = 40.0;
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 420.0;

/// What is drawn behind the lines.
pub(crate) struct Chart<'a> {
    pub(crate) title: &'a str,
    /// The ends of the scale; what is beyond is drawn at its edge.
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
    /// Values with a line across, and their labels.
    pub(crate) ticks: &'a [(f64, &'a str)],
    pub(crate) columns: Vec<String>,
}

pub(crate) struct Line {
    pub(crate) label: String,
    pub(crate) hue: usize,
    pub(crate) width: f64,
    pub(crate) dashed: bool,
    /// Column and value, from left to right; at least one.
    pub(crate) points: Vec<(usize, f64)>,
}

impl Line {
    /// Where it ends on the right.
    pub(crate) fn end(&self) -> f64 {
        self.points.last().map_or(0.0, |(_, value)| *value)
    }
}

impl Chart<'_> {
    pub(crate) fn svg(&self, mut lines: Vec<Line>) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{}</text>\n",
            LEFT + WIDTH + 190.0,
            TOP + HEIGHT + 40.0,
            self.title,
        );
        for (value, label) in self.ticks {
            let y = self.y(*value);
            let _ = writeln!(
                svg,
                "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                LEFT + WIDTH,
                LEFT - 8.0,
                y + 4.0
            );
        }
        for (column, label) in self.columns.iter().enumerate() {
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
                self.x(column),
                TOP + HEIGHT + 20.0
            );
        }
        // From the top down at the right edge, with room for a label each.
        lines.sort_by(|one, two| two.end().total_cmp(&one.end()));
        let mut label = TOP - 14.0;
        for line in &lines {
            label = (label + 14.0).max(self.y(line.end()));
            self.draw(&mut svg, line, label);
        }
        svg + "</svg>\n"
    }

    fn draw(&self, svg: &mut String, line: &Line, label: f64) {
        let Line { hue, width, .. } = line;
        let dashes = if line.dashed { " stroke-dasharray=\"5 4\"" } else { "" };
        let points = line.points.iter();
        let points: Vec<String> =
            points.map(|(column, value)| format!("{:.1},{:.1}", self.x(*column), self.y(*value))).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"hsl({hue},70%,40%)\" stroke-width=\"{width}\"{dashes}/>\
             <text x=\"{}\" y=\"{:.1}\" fill=\"hsl({hue},70%,30%)\">{}</text>",
            points.join(" "),
            LEFT + WIDTH + 8.0,
            label + 4.0,
            line.label,
        );
    }

    fn x(&self, column: usize) -> f64 {
        LEFT + WIDTH * column as f64 / (self.columns.len().max(2) - 1) as f64
    }

    fn y(&self, value: f64) -> f64 {
        let value = value.clamp(self.lowest, self.highest);
        TOP + HEIGHT * (self.highest / value).ln() / (self.highest / self.lowest).ln()
    }
}
