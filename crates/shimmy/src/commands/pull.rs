//! `shimmy pull`: gets a model, and shows how far it is.

use std::io::Write;
use std::path::Path;

use serde_json::json;
use shimmy_models::Metadata;
use shimmy_models::hub::{Cancel, Hub, Plan, Progress, PullError, Reference, catalogue};

use super::library::Library;
use super::screen::note;
use super::{bytes, print, print_json, table};
use crate::cli::PullArgs;
use crate::failure::Failure;
use crate::{backend, places, terminal};

pub(super) fn run(args: PullArgs) -> Result<(), Failure> {
    let Some(text) = args.reference.clone().filter(|_| !args.catalogue) else {
        return list_catalogue(args.json);
    };
    let reference: Reference = text
        .parse()
        .map_err(|error| Failure::usage(error).hint("`shimmy pull --catalogue` lists names"))?;
    let mut library = Library::open(args.models)?;
    let mut settings = places::hub(&library.settings, &args.endpoint)?;
    settings.limits.connections = args.connections.into();
    let hub = Hub::new(settings, Cancel::default());
    let waiting = Waiting::begin(&text);
    let plan = hub.plan(&reference);
    drop(waiting);
    let plan = plan.map_err(|error| match error {
        PullError::Unreachable { .. } => Failure::from(error).hint(
            "see whether the network works; HTTPS_PROXY leads through a proxy, HF_ENDPOINT to another hub",
        ),
        other => failure(other, &text),
    })?;
    if args.dry_run {
        return show_plan(&plan, args.json);
    }
    let mut screen = Screen::new(args.json, &plan);
    let paths = hub.fetch(&plan, &mut |event| screen.show(&event));
    screen.end();
    let paths = paths.map_err(|error| failure(error, &text))?;
    library.refresh();
    let name = paths
        .first()
        .and_then(|path| name(&mut library, &text, path).transpose());
    let name = name.transpose()?;
    // Told now and not at its first question.
    let refusal = match (&name, paths.first()) {
        (Some(_), Some(path)) => Metadata::open(path)
            .ok()
            .as_ref()
            .and_then(backend::refusal),
        _ => None,
    };
    if let Some(refusal) = &refusal {
        note(&format!("warning: {refusal}\n"));
    }
    if args.json {
        let paths: Vec<_> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let done = json!({
            "event": "done", "name": name, "reference": plan.reference, "files": paths,
            "warning": refusal,
        });
        return print(&format!("{done}\n"));
    }
    match name {
        Some(name) => print(&format!("{} is here as {name}\n", plan.reference)),
        None => {
            let file = paths.first().map(|path| path.display().to_string());
            Err(Failure::new(format!(
                "{} is here, but no search finds it",
                file.unwrap_or(plan.reference)
            ))
            .hint("`shimmy discover` says what is wrong with it"))
        }
    }
}

/// What the model is called that was just downloaded. From now on it is called by what was typed,
/// too.
fn name(library: &mut Library, text: &str, path: &Path) -> Result<Option<String>, Failure> {
    let real = path.canonicalize();
    let is_it =
        |found: &Path| found == path || found.canonicalize().ok() == real.as_ref().ok().cloned();
    let models = library.found.models.iter();
    let Some(model) = models.into_iter().find(|model| is_it(&model.path)) else {
        return Ok(None);
    };
    let is_known = |name: &String| name.eq_ignore_ascii_case(text);
    let is_url = text.contains("://");
    if !is_url && !is_known(&model.name) && !model.aliases.iter().any(is_known) {
        let mut aliases = library.aliases()?;
        aliases.insert(text.trim(), model)?;
        aliases.save()?;
    }
    Ok(Some(model.name.clone()))
}

fn list_catalogue(json: bool) -> Result<(), Failure> {
    if json {
        let names: Vec<_> = catalogue()
            .map(|(name, repository)| json!({ "name": name, "repository": repository }))
            .collect();
        return print_json(&json!({ "catalogue": names }));
    }
    let rows = catalogue().map(|(name, repository)| vec![name.to_owned(), repository.to_owned()]);
    print(&table(&["NAME", "REPOSITORY"], &rows.collect::<Vec<_>>()))
}

fn show_plan(plan: &Plan, json: bool) -> Result<(), Failure> {
    if json {
        return print_json(&serde_json::to_value(plan)?);
    }
    let mut text = format!(
        "{}: {}, {} to fetch\n",
        plan.reference,
        bytes(plan.size_bytes),
        bytes(plan.missing_bytes)
    );
    for file in &plan.files {
        let here = if file.is_here { " (here already)" } else { "" };
        let size = bytes(file.size_bytes);
        text.push_str(&format!(
            "  {}  {size}{here}\n    {}\n",
            file.name,
            file.path.display()
        ));
    }
    print(&text)
}

/// A line on a terminal while the hub is asked, which may take many tries; gone with what holds it.
struct Waiting(bool);

impl Waiting {
    fn begin(text: &str) -> Self {
        let is_shown = terminal::STDERR.has_colours();
        if is_shown {
            write(&format!("\r\x1b[Klooking for {text} ..."));
        }
        Self(is_shown)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.0 {
            write("\r\x1b[K");
        }
    }
}

fn write(text: &str) {
    let mut stderr = std::io::stderr().lock();
    // A terminal that has gone away is no reason to end a download.
    let _ = stderr
        .write_all(text.as_bytes())
        .and_then(|()| stderr.flush());
}

/// Where progress is shown: a line that changes on a terminal, lines for a file, objects for a
/// program.
struct Screen {
    form: Form,
    /// The tenth of a file that was told last.
    told: Option<(String, u64)>,
    has_open_line: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Changing,
    Lines,
    Objects,
}

impl Screen {
    fn new(json: bool, plan: &Plan) -> Self {
        let form = match terminal::STDERR.has_colours() {
            _ if json => Form::Objects,
            true => Form::Changing,
            false => Form::Lines,
        };
        let mut screen = Self {
            form,
            told: None,
            has_open_line: false,
        };
        match form {
            Form::Objects => screen.object(&json!({ "event": "planned", "plan": plan })),
            _ if plan.missing_bytes == 0 => {}
            _ => screen.line(&format!(
                "pulling {}: {} in {} file{}",
                plan.reference,
                bytes(plan.missing_bytes),
                plan.files.len(),
                if plan.files.len() == 1 { "" } else { "s" }
            )),
        }
        screen
    }

    fn show(&mut self, event: &Progress) {
        if self.form == Form::Objects {
            self.object(&json!(event));
            return;
        }
        match event {
            Progress::Fetching {
                file,
                done_bytes,
                size_bytes,
                bytes_per_second,
                seconds_left,
                ..
            } => {
                let percent = done_bytes * 100 / (*size_bytes).max(1);
                let mut text = format!(
                    "{file}: {percent} %, {} of {}",
                    bytes(*done_bytes),
                    bytes(*size_bytes)
                );
                if let Some(speed) = bytes_per_second {
                    text.push_str(&format!(", {}/s", bytes(*speed as u64)));
                }
                if let Some(seconds) = seconds_left.filter(|_| percent < 100) {
                    text.push_str(&format!(", {} left", time(seconds)));
                }
                self.progress(file, percent, &text);
            }
            Progress::Waiting { file } => {
                self.line(&format!("{file}: somebody else downloads it; waiting"));
            }
            Progress::Retrying {
                file,
                reason,
                seconds,
            } => self.line(&format!("{file}: {reason}; again in {seconds:.1} s")),
            Progress::Verifying { file } => {
                self.progress(file, 100, &format!("{file}: checking its hash"));
            }
            Progress::Finished {
                file,
                sha256,
                is_verified,
            } => {
                let word = if *is_verified {
                    "verified"
                } else {
                    "not verified by anybody"
                };
                self.line(&format!("{file}: done, sha256 {sha256}, {word}"));
            }
        }
    }

    /// A line that the next one replaces, or every tenth of it.
    fn progress(&mut self, file: &str, percent: u64, text: &str) {
        if self.form == Form::Changing {
            write(&format!("\r\x1b[K{text}"));
            self.has_open_line = true;
            return;
        }
        let tenth = percent / 10;
        let is_news = self
            .told
            .as_ref()
            .is_none_or(|(name, told)| name != file || *told < tenth);
        if is_news {
            self.told = Some((file.to_owned(), tenth));
            self.line(text);
        }
    }

    fn line(&mut self, text: &str) {
        let start = if self.has_open_line { "\r\x1b[K" } else { "" };
        self.has_open_line = false;
        write(&format!("{start}{text}\n"));
    }

    fn object(&mut self, value: &serde_json::Value) {
        // Whoever reads it has gone away, or the disk is full: the download goes on.
        let _ = print(&format!("{value}\n"));
    }

    /// Ends a line that waits for the next one.
    fn end(&mut self) {
        if self.has_open_line {
            write("\n");
            self.has_open_line = false;
        }
    }
}

/// A time for people: `4 s`, `2 min`, `1 h 5 min`.
fn time(seconds: f64) -> String {
    let seconds = seconds.ceil() as u64;
    match seconds {
        0..90 => format!("{seconds} s"),
        90..5400 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// What to do about an error.
fn failure(error: PullError, text: &str) -> Failure {
    let hint = match &error {
        PullError::Denied {
            with_token: false, ..
        } => Some("set HF_TOKEN, and accept the model's conditions on its page".to_owned()),
        PullError::Denied { .. } => {
            Some("accept the model's conditions on its page, or use another HF_TOKEN".to_owned())
        }
        PullError::NotFound { .. } => {
            Some("check the name on the hub; `shimmy pull --catalogue` lists short ones".to_owned())
        }
        PullError::NoSuchQuant { available, .. } => {
            let base = text.split(':').next().unwrap_or(text);
            available
                .first()
                .map(|label| format!("shimmy pull {base}:{label}"))
        }
        PullError::TooBig { label, .. } => Some(format!(
            "a smaller model fits; {text}:{label} is taken anyway"
        )),
        PullError::DiskFull { .. } => {
            Some("make room, or set HF_HUB_CACHE to a folder on another disk".to_owned())
        }
        PullError::Io { .. } => {
            Some("see who may write there, or set HF_HUB_CACHE to another folder".to_owned())
        }
        PullError::Unreachable { .. } | PullError::Cancelled => {
            Some("what has come is kept: the same command goes on from there".to_owned())
        }
        PullError::NameTaken { path, .. } => Some(format!(
            "keep it under another name, or remove it: {}",
            path.display()
        )),
        PullError::WrongHash { .. } => {
            Some("try again; if it stays so, the hub is wrong".to_owned())
        }
        _ => None,
    };
    let failure = Failure::from(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn times_are_for_people() {
        assert_eq!(time(3.2), "4 s");
        assert_eq!(time(100.0), "2 min");
        assert_eq!(time(3900.0 + 1800.0), "1 h 35 min");
    }
}
