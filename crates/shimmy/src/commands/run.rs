//! `shimmy run`: a conversation in the terminal, or one answer where there is no terminal.

mod conversation;
mod directive;
mod editor;
mod kept;
mod settings;

use std::io::IsTerminal;

use self::conversation::Conversation;
use self::directive::Directive;
use self::editor::{Editor, Typed};
use super::answer::{self, Answer};
use super::generate::{print_stream, read_input};
use super::model::load;
use super::print;
use super::screen::{Screen, note};
use crate::cli::RunArgs;
use crate::failure::Failure;
use crate::terminal::STDOUT;

pub(super) fn run(args: RunArgs) -> Result<(), Failure> {
    let is_typed = std::io::stdin().is_terminal();
    if args.prompt.is_empty() && is_typed && STDOUT.is_terminal() {
        return talk(args);
    }
    let mut question = args.prompt.join(" ");
    if !is_typed || question.is_empty() {
        let input = read_input()?;
        if !question.is_empty() && !input.trim().is_empty() {
            question.push_str("\n\n");
        }
        question.push_str(&input);
    }
    if question.trim().is_empty() {
        return Err(Failure::usage("there is no prompt")
            .hint("give one after the model's name, or pipe it in"));
    }
    answer_once(args, &question)
}

/// One answer, as `generate` gives it.
fn answer_once(args: RunArgs, question: &str) -> Result<(), Failure> {
    let settings = settings::Settings::new(&args);
    let model = load(args.name.as_deref(), args.models, &args.engine)?;
    let wishes = settings.wishes(&model)?;
    let plan = answer::plan_lone(&model, settings.system.as_deref(), question, &wishes)?;
    let mut screen = Screen::new();
    if let Some(warning) = answer::unheard(&model, &plan.unheard) {
        screen.warn(&warning);
    }
    print_stream(Answer::start(&model, plan, wishes)?, &mut screen)
}

/// Questions and answers until the user leaves.
fn talk(args: RunArgs) -> Result<(), Failure> {
    let mut editor = Editor::new(!args.no_history)?;
    let mut conversation = Conversation::open(args)?;
    note(&conversation.greeting());
    loop {
        let text = match editor.read()? {
            Typed::Text(text) => text,
            Typed::Nothing => continue,
            Typed::End => return Ok(()),
        };
        let outcome = match Directive::read(&text) {
            None => conversation.ask(&text),
            Some(Ok(Directive::Leave)) => return Ok(()),
            Some(Ok(Directive::History(is_on))) => {
                editor.keep_history(is_on);
                Ok(())
            }
            Some(Ok(directive)) => conversation.obey(directive).and_then(|said| print(&said)),
            Some(Err(failure)) => Err(failure),
        };
        match outcome {
            Ok(()) => {}
            // Nobody is there to be talked with any more.
            Err(failure) if failure.is_final() => return Err(failure),
            Err(failure) => failure.show(),
        }
    }
}
