//! How texts are split into words before byte pairs are merged. Owns which rule has which name and what
//! its stages are; each stage splits the pieces of the one before it.

mod sets;
mod stage;

use super::classes::Classes;
use stage::{Letters, Stage, Usual};

/// A rule of splitting, and what goes with its name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rule {
    stages: &'static [Stage],
    /// Whether a word that is a token is not merged anew.
    pub(super) whole_words: bool,
    /// Whether texts begin with a token where the file does not say.
    pub(super) begins: bool,
    /// Whether there is such a token where the file names none.
    pub(super) has_begin: bool,
}

/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
const GPT2: Rule = Rule::of(&[Stage::Gpt2]);

/// The same between single digits.
const DIGITS: Rule = Rule::of(&[sets::NUMBER.in_runs_of(1), Stage::Gpt2]);

/// Contractions in any case, then
/// `[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`.
const LLAMA3: Rule = Rule::of(&[Stage::Usual(Usual::LLAMA3)]);

/// Llama 3's with single digits.
const QWEN2: Rule = Rule::of(&[Stage::Usual(Usual::QWEN2)]);

/// Qwen 2's, where marks are letters.
const QWEN35: Rule = Rule::of(&[Stage::Usual(Usual {
    letters: Letters::WithMarks,
    ..Usual::QWEN2
})]);

/// Qwen 2's, where line breaks do not stay with what is before them.
const SEED_CODER: Rule = Rule::of(&[Stage::Usual(Usual {
    behind: &[],
    ..Usual::QWEN2
})]);

/// Qwen 2's without contractions.
const UFAKZEKA: Rule = Rule::of(&[Stage::Usual(Usual {
    contractions: false,
    ..Usual::QWEN2
})]);

/// Qwen 2's, line by line.
const LAGUNA: Rule = Rule::of(&[Stage::Lines, Stage::Usual(Usual::QWEN2)]);

/// Digits in threes, then Llama 3's.
const MINICPM5: Rule = Rule::of(&[
    sets::NUMBER.in_runs_of(3),
    Stage::Usual(Usual {
        digits: usize::MAX,
        ..Usual::LLAMA3
    }),
]);

/// Words begin where small letters become capital ones:
/// `[^\r\n\p{L}\p{N}]?[\p{Lu}…]*[\p{Ll}…]+|[^\r\n\p{L}\p{N}]?[\p{Lu}…]+[\p{Ll}…]*|\p{N}|…`, with slashes
/// behind punctuation. As in llama.cpp, letters beyond ASCII are both small and capital.
const TEKKEN: Rule = Rule::of(&[Stage::Usual(Usual::TEKKEN)]);

/// The same with contractions behind words and digits in threes.
const GPT4O: Rule = Rule::of(&[Stage::Usual(Usual {
    letters: Letters::CasedWithContractions,
    digits: 3,
    ..Usual::TEKKEN
})]);

/// `[\r\n]`, `\s?[letters with a case]+`, `\s?[punctuation]+`, `\s+$`, `[CJK]+`, `\p{N}+`.
const DEEPSEEK_LLM: Rule = Rule::of(&[
    sets::BREAK.in_runs_of(1),
    Stage::SpacedRuns(sets::CASED),
    Stage::SpacedRuns(sets::ASCII_AND_WIDE),
    Stage::SpacesAtEnd,
    sets::EAST_ASIAN.in_runs_of(usize::MAX),
    sets::NUMBER.in_runs_of(usize::MAX),
]);

/// `[\r\n]`, `\s?\p{L}+`, `\s?\p{P}+`, `[CJK]+`, `\p{N}`.
const DEEPSEEK_CODER: Rule = Rule::of(&[
    sets::BREAK.in_runs_of(1),
    Stage::SpacedRuns(sets::LETTER),
    Stage::SpacedRuns(sets::PUNCTUATION),
    sets::EAST_ASIAN.in_runs_of(usize::MAX),
    sets::NUMBER.in_runs_of(1),
]);

/// `\p{N}{1,3}`, `[CJK]+`, then
/// `[punctuation][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|…`, and then line
/// breaks and white space as in Llama 3's.
const DEEPSEEK_3: Rule = Rule::of(&[
    sets::NUMBER.in_runs_of(3),
    sets::CHINESE_AND_KANA.in_runs_of(usize::MAX),
    Stage::DeepSeek3,
]);

/// Punctuation, then GPT-2's, then digits in threes.
const FALCON: Rule = Rule::of(&[
    sets::FALCON.in_runs_of(usize::MAX),
    Stage::Gpt2,
    Stage::ThreeDigits,
]);

/// What files have that name no rule.
const DEFAULT: Rule = Rule::of(&[
    sets::DEFAULT.in_runs_of(usize::MAX),
    Stage::Gpt2,
    sets::NUMBER.in_runs_of(usize::MAX),
    Stage::ThreeDigits,
]);

/// ` ?[^(\s|.,!?…。，、।۔،)]+`.
const BLOOM: Rule = Rule::of(&[Stage::RunsWithout(sets::BLOOM)]);

/// The same, then single digits.
const VIKING: Rule = Rule::of(&[Stage::RunsWithout(sets::BLOOM), sets::NUMBER.in_runs_of(1)]);

impl Rule {
    const fn of(stages: &'static [Stage]) -> Self {
        Self {
            stages,
            whole_words: false,
            begins: false,
            has_begin: true,
        }
    }

    const fn with_whole_words(self) -> Self {
        Self {
            whole_words: true,
            ..self
        }
    }

    const fn beginning(self) -> Self {
        Self {
            begins: true,
            ..self
        }
    }

    const fn without_begin(self) -> Self {
        Self {
            has_begin: false,
            ..self
        }
    }

    /// The rule of this name (`tokenizer.ggml.pre`), if it is one of these.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "" | "default" => DEFAULT,
            "gpt-2" | "phi-2" | "mpt" | "olmo" | "jais" | "trillion" | "granite-docling"
            | "gigachat" | "a.x-4.0" | "mellum" | "exaone4" => GPT2,
            "starcoder" | "refact" | "command-r" | "smollm" | "codeshell" | "exaone"
            | "minerva-7b" | "mellum2" => DIGITS,
            "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "falcon-h1" | "pixtral"
            | "midm-2.0" | "lfm2" => LLAMA3.with_whole_words().beginning(),
            "dbrx" | "smaug-bpe" => LLAMA3,
            "chatglm-bpe" => LLAMA3.without_begin(),
            "glm4" | "glm5" => LLAMA3.without_begin().with_whole_words(),
            "minicpm5" => MINICPM5.with_whole_words(),
            "qwen2" | "deepseek-r1-qwen" | "kormo" | "stablelm2" | "megrez" | "hunyuan"
            | "solar-open" | "grok-2" | "bailingmoe" | "bailingmoe2" | "llada-moe" => QWEN2,
            "qwen35" => QWEN35,
            "seed-coder" => SEED_CODER,
            "ufakzeka" => UFAKZEKA,
            "laguna" => LAGUNA,
            "tekken" => TEKKEN.with_whole_words().beginning(),
            "gpt-4o" | "llama4" | "kanana2" | "talkie" | "minimax-m2" => GPT4O,
            "deepseek-llm" => DEEPSEEK_LLM,
            "deepseek-coder" => DEEPSEEK_CODER,
            "deepseek-v3" | "hunyuan-dense" | "joyai-llm" | "hy_v4" => DEEPSEEK_3,
            "falcon" => FALCON,
            "bloom" | "poro-chat" | "gpt3-finnish" => BLOOM,
            "viking" => VIKING,
            _ => return None,
        })
    }

    /// Calls `word` with each word of a text.
    pub(super) fn split(self, classes: &Classes, text: &str, mut word: impl FnMut(&str)) {
        split(self.stages, classes, text, &mut word);
    }
}

fn split(stages: &[Stage], classes: &Classes, text: &str, word: &mut dyn FnMut(&str)) {
    match stages {
        [] => word(text),
        [last] => last.split(classes, text, word),
        [first, rest @ ..] => first.split(classes, text, &mut |piece| {
            split(rest, classes, piece, &mut *word);
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::{Classes, Rule};

    fn split(name: &str, text: &str) -> Vec<String> {
        let mut words = Vec::new();
        let rule = Rule::named(name).unwrap();
        rule.split(&Classes::new(), text, |word| words.push(word.to_owned()));
        assert_eq!(words.concat(), text);
        words
    }

    #[test]
    fn the_last_space_goes_with_the_word_behind_it() {
        let gpt2 = |text| split("gpt-2", text);
        assert_eq!(gpt2("a   b"), ["a", "  ", " b"]);
        assert_eq!(gpt2("a   "), ["a", "   "]);
        assert_eq!(gpt2("a\n\nb"), ["a", "\n", "\n", "b"]);
        assert_eq!(
            gpt2("it's 12 o'clock!?"),
            ["it", "'s", " 12", " o", "'", "clock", "!?"]
        );
        assert_eq!(split("smollm", "a  12 b"), ["a", "  ", "1", "2", " b"]);
    }

    #[test]
    fn llama_3_keeps_line_breaks_together_and_digits_in_threes() {
        let llama = |text| split("llama-bpe", text);
        assert_eq!(llama("x\n\n  y"), ["x", "\n\n", " ", " y"]);
        assert_eq!(llama("12345 don'T"), ["123", "45", " don", "'T"]);
        assert_eq!(llama("a!?\n\nb (c)"), ["a", "!?\n\n", "b", " (", "c", ")"]);
        assert_eq!(llama("\té ü"), ["\té", " ü"]);
        assert_eq!(split("qwen2", "12 "), ["1", "2", " "]);
    }

    #[test]
    fn capital_letters_begin_words() {
        let tekken = |text| split("tekken", text);
        assert_eq!(tekken("aBcDE fG"), ["a", "Bc", "DE", " f", "G"]);
        assert_eq!(tekken("x/\n/ \n y"), ["x", "/\n/", " \n", " y"]);
        assert_eq!(split("gpt-4o", "Don't 1234"), ["Don't", " ", "123", "4"]);
    }

    #[test]
    fn pieces_of_a_stage_are_split_by_the_next() {
        assert_eq!(
            split("deepseek-llm", "Hé, 1234\n中a  "),
            ["H", "é", ",", " ", "1234", "\n", "中", "a", "  "]
        );
        assert_eq!(
            split("deepseek-v3", "_ab 12345かな;\n\n "),
            ["_ab", " ", "123", "45", "かな", ";\n\n", " "]
        );
        assert_eq!(
            split("falcon", "a,b 1234"),
            ["a", ",", "b", " ", "123", "4"]
        );
        assert_eq!(split("bloom", "a b. c"), ["a", " b", ".", " c"]);
    }
}
