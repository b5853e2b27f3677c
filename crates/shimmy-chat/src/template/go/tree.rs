//! A template in parts: what stands between `{{` and `}}`, and what it means together.

/// A part of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// `.`
    Dot,
    /// `.A.B`
    Fields(Vec<String>),
    /// `$x.A.B`; the root is the variable without a name.
    Variable(String, Vec<String>),
    /// A keyword or the name of a function.
    Word(String),
    Text(String),
    Number(String),
    Open,
    /// `)`, or `).A.B`
    Close(Vec<String>),
    Pipe,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    Comma,
}

/// Text, or an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Action(Vec<Token>),
}

/// What a template does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Text(String),
    Print(Expression),
    Set {
        variable: Variable,
        value: Expression,
    },
    If(Branch),
    With(Branch),
    Range {
        /// The variable for the index or the key.
        key: Option<String>,
        /// The variable for the item.
        item: Option<String>,
        branch: Branch,
    },
    Break,
    Continue,
}

/// A block, and the one for when there is nothing to do it with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Branch {
    pub(super) variable: Option<Variable>,
    pub(super) value: Expression,
    pub(super) body: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// A variable that gets a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) is_new: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expression {
    /// Fields of whatever the dot is; of none, that itself.
    Dot(Vec<String>),
    Variable(String, Vec<String>),
    Text(String),
    /// A number, a truth value or nothing, in Jinja's words.
    Constant(String),
    Call(String, Vec<Expression>),
    /// Fields of a value.
    Of(Box<Expression>, Vec<String>),
}

impl Expression {
    /// Whether it reads this field of the root.
    pub(super) fn reads(&self, field: &str) -> bool {
        let is_it = |fields: &[String]| fields.first().is_some_and(|first| first == field);
        match self {
            Self::Dot(fields) => is_it(fields),
            Self::Variable(name, fields) => name.is_empty() && is_it(fields),
            Self::Text(_) | Self::Constant(_) => false,
            Self::Call(_, arguments) => arguments.iter().any(|argument| argument.reads(field)),
            Self::Of(value, _) => value.reads(field),
        }
    }
}

impl Branch {
    fn reads(&self, field: &str) -> bool {
        self.value.reads(field) || reads(&self.body, field) || reads(&self.otherwise, field)
    }
}

/// Whether any of these reads this field of the root.
pub(super) fn reads(nodes: &[Node], field: &str) -> bool {
    nodes.iter().any(|node| match node {
        Node::Print(value) | Node::Set { value, .. } => value.reads(field),
        Node::If(branch) | Node::With(branch) | Node::Range { branch, .. } => branch.reads(field),
        Node::Text(_) | Node::Break | Node::Continue => false,
    })
}

/// The beginning of a template, up to where the answer is written: what a model reads before it.
pub(super) fn cut_at_answer(nodes: &[Node], is_cut: &mut bool) -> Vec<Node> {
    let mut kept = Vec::new();
    for node in nodes {
        if *is_cut {
            break;
        }
        let mut cut = |branch: &Branch| {
            *is_cut = branch.value.reads(ANSWER);
            Branch {
                body: cut_at_answer(&branch.body, is_cut),
                otherwise: cut_at_answer(&branch.otherwise, is_cut),
                ..branch.clone()
            }
        };
        kept.push(match node {
            Node::If(branch) => Node::If(cut(branch)),
            Node::With(branch) => Node::With(cut(branch)),
            Node::Range { key, item, branch } => Node::Range {
                key: key.clone(),
                item: item.clone(),
                branch: cut(branch),
            },
            Node::Print(value) | Node::Set { value, .. } => {
                *is_cut = value.reads(ANSWER);
                node.clone()
            }
            Node::Text(_) | Node::Break | Node::Continue => node.clone(),
        });
    }
    kept
}

/// The field that stands for the answer.
const ANSWER: &str = "Response";
