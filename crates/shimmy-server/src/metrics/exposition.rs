//! The three spellings of the same numbers: OpenMetrics, Prometheus' older text, JSON.
//!
//! The first is what `prometheus-client` writes; the others are made from it, so that none can
//! say what the first does not.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Number;
use utoipa::ToSchema;

/// All metrics at one moment.
#[derive(Debug)]
pub(crate) struct Exposition {
    open_metrics: String,
}

/// All metrics as JSON.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Metrics)]
pub(crate) struct Report {
    metrics: Vec<Metric>,
}

/// One metric with its samples.
#[derive(Debug, Serialize, ToSchema)]
struct Metric {
    /// The name that queries use.
    #[schema(example = "shimmy_http_requests_total")]
    name: String,
    /// `counter`, `gauge`, `histogram` or `info`.
    #[serde(rename = "type")]
    kind: String,
    help: String,
    samples: Vec<Sample>,
}

/// A value, or for a histogram its count, sum and buckets.
#[derive(Debug, Default, Serialize, ToSchema)]
struct Sample {
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    value: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    count: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    sum: Option<Number>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    buckets: Vec<Bucket>,
}

/// How many observations were at most `le`.
#[derive(Debug, Serialize, ToSchema)]
struct Bucket {
    /// The bound; the last one is `+Inf`.
    #[schema(example = "0.25")]
    le: String,
    #[schema(value_type = u64)]
    count: Number,
}

/// A metric as it stands in the text.
struct Family<'a> {
    name: &'a str,
    kind: &'a str,
    help: &'a str,
    samples: Vec<&'a str>,
}

impl Exposition {
    /// Of a text in the format of OpenMetrics.
    pub(super) fn new(open_metrics: String) -> Self {
        Self { open_metrics }
    }

    /// `application/openmetrics-text`.
    pub(crate) fn into_open_metrics(self) -> String {
        self.open_metrics
    }

    /// `text/plain; version=0.0.4`, whose counters are called what their samples are called.
    pub(crate) fn to_classic(&self) -> String {
        let mut text = String::with_capacity(self.open_metrics.len());
        for family in self.families() {
            let (name, kind) = (family.full_name(), family.kind);
            let kind = if kind == "info" { "gauge" } else { kind };
            // Writing into a string does not fail.
            let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", family.help);
            for sample in family.samples {
                text.push_str(sample);
                text.push('\n');
            }
        }
        text
    }

    /// `application/json`.
    pub(crate) fn to_report(&self) -> Report {
        let metrics = self.families().into_iter().map(Family::into_metric);
        Report {
            metrics: metrics.collect(),
        }
    }

    fn families(&self) -> Vec<Family<'_>> {
        let mut families: Vec<Family<'_>> = Vec::new();
        for line in self.open_metrics.lines() {
            let comment = line.strip_prefix("# ");
            let (keyword, rest) = comment
                .and_then(|comment| comment.split_once(' '))
                .unwrap_or_default();
            match (keyword, families.last_mut()) {
                // Each metric begins with this line.
                ("HELP", _) => {
                    let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
                    families.push(Family {
                        name,
                        kind: "",
                        help,
                        samples: Vec::new(),
                    });
                }
                ("TYPE", Some(family)) => {
                    family.kind = rest.rsplit_once(' ').map_or(rest, |(_, kind)| kind);
                }
                (_, Some(family)) if comment.is_none() => family.samples.push(line),
                _ => {}
            }
        }
        families
    }
}

impl Family<'_> {
    /// The name that samples have, and queries use.
    fn full_name(&self) -> String {
        match self.kind {
            "counter" => format!("{}_total", self.name),
            "info" => format!("{}_info", self.name),
            _ => self.name.to_owned(),
        }
    }

    fn into_metric(self) -> Metric {
        let mut samples: Vec<Sample> = Vec::new();
        for line in &self.samples {
            let Some((name, labels, value)) = split(line) else {
                continue;
            };
            let mut labels = read_labels(labels);
            match (name.strip_prefix(self.name), samples.last_mut()) {
                // A histogram's sum comes first, then its count and its buckets.
                (Some("_sum"), _) if self.kind == "histogram" => samples.push(Sample {
                    labels,
                    sum: number(value),
                    ..Sample::default()
                }),
                (Some("_count"), Some(sample)) => sample.count = number(value),
                (Some("_bucket"), Some(sample)) => sample.buckets.extend(
                    labels
                        .remove("le")
                        .zip(number(value))
                        .map(|(le, count)| Bucket { le, count }),
                ),
                _ => samples.push(Sample {
                    labels,
                    value: number(value),
                    ..Sample::default()
                }),
            }
        }
        Metric {
            name: self.full_name(),
            kind: self.kind.to_owned(),
            help: self.help.to_owned(),
            samples,
        }
    }
}

/// `name{labels} value` in its parts.
fn split(line: &str) -> Option<(&str, &str, &str)> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}')?),
        None => (series, ""),
    };
    Some((name, labels, value))
}

/// `a="x",b="y"`, whose values have `\\`, `\"` and `\n` for what would end them.
fn read_labels(mut text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    while let Some((name, quoted)) = text.split_once("=\"") {
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        let mut end = quoted.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    end = at + 1;
                    break;
                }
                '\\' => value.extend(chars.next().map(|(_, c)| if c == 'n' { '\n' } else { c })),
                c => value.push(c),
            }
        }
        labels.insert(name.trim_start_matches(',').to_owned(), value);
        text = &quoted[end..];
    }
    labels
}

/// Whole numbers stay whole; what JSON has no number for is left out.
fn number(text: &str) -> Option<Number> {
    match text.parse::<u64>() {
        Ok(whole) => Some(whole.into()),
        Err(_) => Number::from_f64(text.parse().ok()?),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const TEXT: &str = r#"# HELP shimmy_build Version.
# TYPE shimmy_build info
shimmy_build_info{version="1.2.3"} 1
# HELP shimmy_requests Requests.
# TYPE shimmy_requests counter
shimmy_requests_total{route="/a",status="200"} 3
shimmy_requests_total{route="odd \"}\\\n name, x=",status="404"} 1
# HELP shimmy_wait_seconds Wait.
# TYPE shimmy_wait_seconds histogram
# UNIT shimmy_wait_seconds seconds
shimmy_wait_seconds_sum{model="m"} 0.75
shimmy_wait_seconds_count{model="m"} 2
shimmy_wait_seconds_bucket{le="0.5",model="m"} 1
shimmy_wait_seconds_bucket{le="+Inf",model="m"} 2
# HELP shimmy_models Models.
# TYPE shimmy_models gauge
shimmy_models 4
# EOF
"#;

    #[test]
    fn json_has_every_sample_with_its_labels() {
        let report = Exposition::new(TEXT.to_owned()).to_report();
        let report = serde_json::to_value(report).unwrap();
        let samples = |index: usize| report["metrics"][index]["samples"].clone();
        assert_eq!(report["metrics"][1]["name"], "shimmy_requests_total");
        assert_eq!(report["metrics"][1]["type"], "counter");
        assert_eq!(
            samples(0),
            json!([{ "labels": { "version": "1.2.3" }, "value": 1 }])
        );
        assert_eq!(
            samples(1)[1],
            json!({ "labels": { "route": "odd \"}\\\n name, x=", "status": "404" }, "value": 1 })
        );
        assert_eq!(
            samples(2),
            json!([{
                "labels": { "model": "m" }, "count": 2, "sum": 0.75,
                "buckets": [{ "le": "0.5", "count": 1 }, { "le": "+Inf", "count": 2 }],
            }])
        );
        assert_eq!(samples(3), json!([{ "labels": {}, "value": 4 }]));
    }

    #[test]
    fn the_older_text_names_a_counter_as_its_samples_are_named() {
        let classic = Exposition::new(TEXT.to_owned()).to_classic();
        for line in [
            "# TYPE shimmy_build_info gauge",
            "# TYPE shimmy_requests_total counter",
            "# TYPE shimmy_wait_seconds histogram",
            r#"shimmy_wait_seconds_bucket{le="0.5",model="m"} 1"#,
        ] {
            assert!(classic.lines().any(|l| l == line), "{line}\n{classic}");
        }
        assert!(!classic.contains("# EOF") && !classic.contains("# UNIT"));
    }

    #[test]
    fn numbers_are_whole_where_they_were() {
        assert_eq!(number("3").map(Value::from), Some(json!(3)));
        assert_eq!(number("0.25").map(Value::from), Some(json!(0.25)));
        assert_eq!(number("NaN"), None);
    }
}
