//! The built-in templates, and which one a vocabulary gets.

use serde_json::Map;
use shimmy_chat::{ChatPlan, ChatRequest, ChatTemplate, Family, Origin, Thinking, ToolChoice};
use shimmy_engine::stub::StubTokenizer;

use super::{chat, text, vocabulary};

const CHAT: &[(&str, &str)] = &[
    ("system", "Be brief."),
    ("user", " Hi\n"),
    ("assistant", "Hello."),
    ("user", "Bye"),
];

fn built_in(specials: &[&str]) -> ChatTemplate {
    ChatTemplate::new(None, vocabulary(specials)).unwrap()
}

fn plan(template: &ChatTemplate) -> ChatPlan {
    let request = ChatRequest {
        messages: &chat(CHAT),
        tools: &[],
        tool_choice: &ToolChoice::None,
        parallel_calls: true,
        thinking: &Thinking::default(),
        shape: None,
        add_generation_prompt: true,
        kwargs: &Map::new(),
    };
    template.plan(&request, &StubTokenizer::default()).unwrap()
}

#[test]
fn chatml() {
    let template = built_in(&["<|im_start|>", "<|im_end|>", "<|end_of_turn|>"]);
    assert_eq!(template.origin(), Origin::BuiltIn(Family::ChatMl));
    assert!(template.is_chat_model());
    assert_eq!(
        text(&template, CHAT),
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi\n<|im_end|>\n\
         <|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n\
         <|im_start|>assistant\n"
    );
}

#[test]
fn llama_3() {
    let template = built_in(&["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]);
    assert_eq!(template.origin(), Origin::BuiltIn(Family::Llama3));
    assert!(template.is_chat_model());
    assert_eq!(
        text(&template, CHAT),
        "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>\
         <|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>\
         <|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|>\
         <|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>\
         <|start_header_id|>assistant<|end_header_id|>\n\n"
    );
}

#[test]
fn openchat() {
    let template = built_in(&["<|end_of_turn|>"]);
    assert_eq!(template.origin(), Origin::BuiltIn(Family::OpenChat));
    assert!(template.is_chat_model());
    assert_eq!(
        text(&template, CHAT),
        "<s>Be brief.<|end_of_turn|>GPT4 Correct User:  Hi\n<|end_of_turn|>\
         GPT4 Correct Assistant: Hello.<|end_of_turn|>GPT4 Correct User: Bye<|end_of_turn|>\
         GPT4 Correct Assistant:"
    );
}

#[test]
fn a_base_model_is_no_chat_model_but_can_be_asked() {
    // A beginning of ChatML without the end that would stop an answer is none.
    for specials in [&["<s>", "</s>"][..], &["<|im_start|>"]] {
        let template = built_in(specials);
        assert_eq!(template.origin(), Origin::BuiltIn(Family::Plain));
        assert!(!template.is_chat_model());
        assert_eq!(
            text(&template, CHAT),
            "<s>Be brief.\nUser: Hi\nAssistant: Hello.\nUser: Bye\nAssistant:"
        );
        let stop = plan(&template).stop;
        assert_eq!(stop, ["\nUser:", "\nAssistant:"]);
    }
}

#[test]
fn gemma() {
    let template = built_in(&["<start_of_turn>", "<end_of_turn>"]);
    assert_eq!(template.origin(), Origin::BuiltIn(Family::Gemma));
    assert_eq!(
        text(&template, CHAT),
        "<s><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n\
         <start_of_turn>model\nHello.<end_of_turn>\n<start_of_turn>user\nBye<end_of_turn>\n\
         <start_of_turn>model\n"
    );
    assert_eq!(
        text(&template, &[("system", "Be brief.")]),
        "<s><start_of_turn>user\nBe brief.<end_of_turn>\n<start_of_turn>model\n"
    );
    // Its token ends the answer.
    assert!(plan(&template).stop.is_empty());
}

#[test]
fn the_models_own_template_wins() {
    let own = "{{ messages[0].content }}!";
    let template = ChatTemplate::new(Some(own), vocabulary(&["<|im_start|>"])).unwrap();
    assert_eq!(template.origin(), Origin::Model);
    assert!(template.is_chat_model());
    assert_eq!(template.source(), own);
    assert_eq!(text(&template, &[("user", "Hi")]), "Hi!");
}
