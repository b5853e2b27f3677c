//! Every way of splitting words, and SentencePiece's pieces, with vocabularies in which every two kinds
//! of characters beside each other are a token: a split that one engine makes and the other does not
//! cannot hide.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use shimmy_llama::LlamaTokenizer;
use shimmy_native::{NativeTokenizer, Options};
use shimmy_testkit::tiny::{Architecture, KINDS, Model, Vocabulary};

use super::reference_model;
use super::tokens::{same, same_meaning};

/// Texts of characters of all kinds, some of them in runs, and of what has rules of its own.
pub(super) fn text() -> impl Strategy<Value = String> {
    let kind = || prop::sample::select(KINDS.to_vec());
    let part = prop_oneof![
        4 => kind().prop_map(String::from),
        2 => (kind(), 1..5_usize).prop_map(|(kind, count)| kind.to_string().repeat(count)),
        1 => "[ \n\r\t]{1,4}",
        1 => "[0-9]{1,7}",
        1 => "'(s|t|re|ve|m|ll|d|S|T|RE|Ve|LL|x)",
        1 => "[A-Z][a-z]{0,3}",
        1 => "[!-~]{1,4}",
        1 => prop::sample::select(vec![
            " art", "tree", "123", "\n\n\n", "   ", "rest", "<s>", "</s>", "<h1>", "<table>",
            "<|im_start|>", "<|endoftext|>", "<unk>", "<0x41>", "▁", "▁▁", " la.", "....", "\0",
        ])
        .prop_map(ToOwned::to_owned),
    ];
    prop::collection::vec(part, 0..20).prop_map(|parts| parts.concat())
}

/// Both tokenizers of a model.
pub(super) fn both(model: &Model) -> (NativeTokenizer, LlamaTokenizer) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    model.write(&path).unwrap();
    let (_, native) = shimmy_native::open(&path, &Options::default()).unwrap();
    let llama = LlamaTokenizer::new(reference_model(&path)).unwrap();
    (native, llama)
}

fn agree(name: &str, model: &Model) {
    let (native, llama) = both(model);
    same_meaning(name, &native, &llama);
    agree_on(name, (&native, &llama), text());
}

/// Whether random texts become the same tokens.
pub(super) fn agree_on(
    name: &str,
    (native, llama): (&NativeTokenizer, &LlamaTokenizer),
    texts: impl Strategy<Value = String>,
) {
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::with_cases(500)
    });
    runner
        .run(&texts, |text| {
            same(name, native, llama, &text);
            Ok(())
        })
        .unwrap();
}

pub(super) fn model(vocabulary: Vocabulary) -> Model {
    Model::of(Architecture::qwen2()).vocabulary(vocabulary)
}

/// One test for each rule, by all of its names.
macro_rules! words {
    ($($test:ident: $($name:literal),+;)*) => {$(
        #[test]
        fn $test() {
            for name in [$($name),+] {
                agree(name, &model(Vocabulary::byte_pairs(name)));
            }
        }
    )*};
}

words! {
    words_by_default: "default", "";
    words_like_gpt_2: "gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling",
        "gigachat", "a.x-4.0", "mellum", "exaone4";
    words_between_digits: "smollm", "starcoder", "refact", "command-r", "codeshell", "exaone",
        "minerva-7b", "mellum2";
    words_like_llama_3: "llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral",
        "midm-2.0", "lfm2", "dbrx", "smaug-bpe";
    words_like_glm: "chatglm-bpe", "glm4", "glm5";
    words_like_minicpm_5: "minicpm5";
    words_like_qwen_2: "qwen2", "deepseek-r1-qwen", "kormo", "stablelm2", "megrez", "hunyuan",
        "solar-open", "grok-2", "bailingmoe", "bailingmoe2", "llada-moe";
    words_like_qwen_3_5: "qwen35";
    words_like_seed_coder: "seed-coder";
    words_without_contractions: "ufakzeka";
    words_of_lines: "laguna";
    words_like_tekken: "tekken";
    words_like_gpt_4o: "gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2";
    words_like_deepseek: "deepseek-llm";
    words_like_deepseek_coder: "deepseek-coder";
    words_like_deepseek_3: "deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4";
    words_like_falcon: "falcon";
    words_like_bloom: "bloom", "poro-chat", "gpt3-finnish";
    words_like_viking: "viking";
}

#[test]
fn pieces_with_a_space_before_them_and_without() {
    for space_before in [true, false] {
        let name = format!("pieces, space {space_before}");
        agree(&name, &model(Vocabulary::pieces(space_before)));
    }
    // Files of this name drop the white space behind special tokens.
    let phi3 = model(Vocabulary::pieces(true)).name("Tiny Phi-3");
    agree("Phi 3's pieces", &phi3);
}
