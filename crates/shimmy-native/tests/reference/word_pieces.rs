//! WordPiece: every character there is, texts of many scripts, and what models do with case and accents.
//! The models are decoders, whose graph means nothing here.

use proptest::prelude::*;
use shimmy_testkit::tiny::{Model, Vocabulary};

use super::TEXT;
use super::tokens::{same, same_meaning};
use super::vocabularies::{agree_on, both, model, text};

/// Sentences in many scripts, with and without spaces between words.
const SENTENCES: [&str; 24] = [
    "Isn't the PLAYER unaffable? Tokenization of antidisestablishmentarianism, École, Über-straße.",
    "Voix ambiguë d’un cœur qui, au zéphyr, préfère les jattes de kiwis – 1 234,50 € à l’École.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. STRASSE, Straße, ẞ.",
    "Pchnąć w tę łódź jeża lub ośm skrzyń fig. Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "İstanbul'da ılık bir gün; DİYARBAKIR ve diyarbakır. Tiếng Việt có nhiều dấu thanh điệu.",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. ΑΘΗΝΑ, Αθήνα, ΟΔΟΣ, ὁδός, ᾳ ᾼ ΐ.",
    "Съешь же ещё этих мягких французских булок, да выпей чаю. КНИГА, книги, Йод, Ґанок, Ѐ.",
    "Լինել, թե չլինել: Բոլոր մարդիկ ծնվում են ազատ։",
    "ყველა ადამიანი იბადება თავისუფალი. ᲧᲕᲔᲚᲐ ᲐᲓᲐᲛᲘᲐᲜᲘ. Ⴄ ⴄ",
    "שָׁלוֹם עוֹלָם! כל בני אדם נולדו בני חורין. שּׁ יִ",
    "السَّلامُ عَلَيْكُم، هل هذا سؤال؟ ١٢٣٤ — لَا، إِنَّهُ جَوَابٌ؛ ﻻ ﷲ آ أ ؤ",
    "نوشتن به فارسی با نیم‌فاصله: می‌خواهم. اردو میں لکھنا۔",
    "नमस्ते दुनिया। सभी मनुष्यों को गौरव और अधिकारों के विषय में। क़ ख़ ज़",
    "বাংলা লেখা: আমি ভাত খাই। ো ৌ ড় ঢ়  தமிழ் மொழி கொ  తెలుగు  ಕನ್ನಡ ೀ  മലയാളം ൊ  සිංහල ේ",
    "ภาษาไทยไม่มีช่องว่างระหว่างคำ น้ำ ๑๒๓  ພາສາລາວ  ភាសាខ្មែរ  မြန်မာဘာသာ ဦ",
    "བོད་སྐད། གྷ ཱི  ᠮᠣᠩᠭᠣᠯ ᠬᠡᠯᠡ  አማርኛ ቋንቋ፡፡  ᏣᎳᎩ Ꮳ ꮳ",
    "人人生而自由，在尊嚴和權利上一律平等。「中国」㐀 𠀀 𫝀 𫠠 豈 﨎 丽 〇 々",
    "すべての人間は、生まれながらにして自由である。ガギグ ガ パ がぎ ｶﾞ ﾊﾟ １２３ ＡＢＣ ａｂｃ",
    "모든 인간은 태어날 때부터 자유롭다. 각 ㄱ ᄀ 한글",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝐀𝐁 ℌ Å Ω K ﬁ ﬃ ™ № ½ Ⅳ ⅳ ① ㎏ ²",
    "𐐀𐐨 𐓐𐓸 𞤀𞤢 𑄮 𑍋 𑒻 𑖺 𑤸 𝅗𝅥 𝆹𝅥𝅮",
    "emoji 👩‍👩‍👧‍👦 👍🏽 ❤️ 🇪🇺 #️⃣ ☃ ♫ — $5.00 a<b c>d e=f g|h `i` ~j ^k +l €5 £6 ¥7",
    "soft\u{ad}hyphen zero\u{200b}width\u{200c}non\u{200d}join \
        \u{feff}bom \u{202e}rtl\u{202c} \u{0}nul\u{1}\u{7f}\u{85}\u{9f} \u{fffd}\u{fffe}\u{ffff}",
    "a\u{a0}b\u{1680}c\u{2000}d\u{2001}e\u{2007}f\u{2028}g\u{2029}h\u{202f}\
        i\u{205f}j\u{3000}k\u{180e}l\u{2060}m\tn\u{b}o\u{c}p\r\nq",
];

/// What the settings of a file say about case and accents.
fn normalizers() -> Vec<(String, Vec<(&'static str, bool)>)> {
    let case = "tokenizer.ggml.normalizer.lowercase";
    let accents = "tokenizer.ggml.normalizer.strip_accents";
    let all = [
        vec![],
        vec![(case, false)],
        vec![(accents, false)],
        vec![(case, false), (accents, true)],
    ];
    all.map(|settings| (format!("{settings:?}"), settings))
        .into()
}

fn with(vocabulary: Vocabulary, settings: &[(&'static str, bool)]) -> Model {
    let add = |vocabulary: Vocabulary, &(key, value): &(&'static str, bool)| {
        vocabulary.setting(key, value)
    };
    model(settings.iter().fold(vocabulary, add))
}

fn texts() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        3 => text(),
        2 => prop::sample::select(SENTENCES.to_vec()).prop_map(ToOwned::to_owned),
        2 => prop::collection::vec(any::<char>(), 1..8).prop_map(String::from_iter),
        2 => "(un|tok|play|the|in|aff|able|ing|s|er|ization|mentarianism|über|É|É){1,4}",
        1 => "[\u{c0}-\u{24f}\u{300}-\u{36f}]{1,6}",
        1 => "[ \t\n]{1,3}",
        2 => prop::sample::select(vec![
            "[MASK]", " [MASK] ", "\n[MASK]", "[CLS]", "[SEP]", "[UNK]", "[PAD]", "[unused5]", "[PROPER]",
            "          ",
            "[mask]", "[MASK", "<mask>", "▁", "▁the", "qqqqq", "antidisestablish",
        ])
        .prop_map(ToOwned::to_owned),
    ];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

#[test]
fn every_character_becomes_the_same() {
    for (name, settings) in normalizers() {
        let (native, llama) = both(&with(Vocabulary::word_pieces_of_bytes(), &settings));
        // There is nothing in ten of the planes: a few of those.
        let is_empty = |character| ('\u{40000}'..'\u{e0000}').contains(&character);
        let all = ('\0'..=char::MAX)
            .filter(|&character| !is_empty(character) || (character as u32).is_multiple_of(256));
        let all: Vec<char> = all.collect();
        for characters in all.chunks(2000) {
            // Within a word, and alone.
            let spelled = characters
                .iter()
                .map(|character| format!("a{character}b {character} "));
            same(&name, &native, &llama, &spelled.collect::<String>());
        }
    }
}

#[test]
fn texts_become_the_same_pieces() {
    for (name, settings) in normalizers() {
        for vocabulary in [
            Vocabulary::word_pieces(),
            Vocabulary::word_pieces_of_bytes(),
        ] {
            let (native, llama) = both(&with(vocabulary, &settings));
            same_meaning(&name, &native, &llama);
            for text in SENTENCES
                .into_iter()
                .chain(["", " ", TEXT, include_str!("prose.txt")])
            {
                same(&name, &native, &llama, text);
            }
            for long in ["a", "un", "q", "é", "中", "[MASK]", "antidisestablis"] {
                same(&name, &native, &llama, &long.repeat(5000));
            }
            agree_on(&name, (&native, &llama), texts());
        }
    }
}

#[test]
fn marks_around_texts_are_the_files() {
    let keys = [
        "tokenizer.ggml.add_sep_token",
        "tokenizer.ggml.normalizer.lowercase",
    ];
    for add_begin in [true, false] {
        for settings in [
            vec![],
            vec![(keys[0], false)],
            vec![(keys[0], true), (keys[1], false)],
        ] {
            let model = with(Vocabulary::word_pieces(), &settings).add_bos(add_begin);
            let (native, llama) = both(&model);
            same_meaning(&format!("{add_begin} {settings:?}"), &native, &llama);
        }
    }
}

/// Names by which llama.cpp knows that special tokens take the white space beside them.
#[test]
fn special_tokens_take_the_same_spaces() {
    for (name, pre) in [
        ("Tiny modern-bert", ""),
        ("Modern-BERT base", "jina-v2-de"),
        ("Tiny BERT", "mmbert"),
        ("Tiny BERT", ""),
    ] {
        let vocabulary = Vocabulary::word_pieces().setting("tokenizer.ggml.pre", pre);
        let (native, llama) = both(&model(vocabulary).name(name));
        for text in [
            "a [MASK] b <mask> c",
            "  [MASK]  [MASK]  <mask>  <mask>",
            "[SEP] \t\n[MASK]\u{a0}[MASK]",
            "   [MASK]",
            "the [PROPER]  [MASK]s",
            "the            [MASK]           <mask>     s",
        ] {
            same(name, &native, &llama, text);
        }
        agree_on(name, (&native, &llama), texts());
    }
}
