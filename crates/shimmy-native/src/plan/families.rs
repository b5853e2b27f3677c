//! The families: what each architecture does differently from the usual decoder.

use shimmy_engine::Pooling;

use super::keys::Keys;
use super::{Experts, Local, Pairs, Plan, PlanError, Rope, Scales, Scores};
use crate::error::Unsupported;
use crate::kernels::Gate;

/// The plan of a model, by its architecture.
pub(super) fn describe(keys: &Keys<'_>) -> Result<Plan, PlanError> {
    match keys.metadata.architecture() {
        // Mistral's and SmolLM's files name this architecture, too.
        "llama" => usual(keys, Pairs::Adjacent),
        "granite" => granite(keys),
        // They differ by biases (Qwen2) and norms of queries and keys (Qwen3), which are tensors.
        "qwen2" | "qwen3" => usual(keys, Pairs::Halves),
        "qwen3moe" => qwen3moe(keys),
        "gemma" => gemma(keys),
        "gemma2" => gemma2(keys),
        "gemma3" => gemma3(keys),
        // Some files name a window, which llama.cpp does not apply either.
        "phi3" => usual(keys, Pairs::Halves),
        other => Err(Unsupported::Architecture(other.to_owned()).into()),
    }
}

/// The decoder that all others are variations of.
fn usual(keys: &Keys<'_>, pairs: Pairs) -> Result<Plan, PlanError> {
    // Mixtures of experts carry the same architecture's name in some families.
    if let Some(count) = keys.find_number("expert_count")?.filter(|&count| count > 0) {
        return Err(keys.unsupported("expert_count", &count.to_string()));
    }
    decoder(keys, pairs, keys.number("feed_forward_length")?)
}

/// The same, whatever its feed-forward network is.
fn decoder(keys: &Keys<'_>, pairs: Pairs, feed_forward: usize) -> Result<Plan, PlanError> {
    // A decoder in which every row sees all others is an encoder by another name.
    if keys.flag("attention.causal") == Some(false) {
        return Err(keys.unsupported("attention.causal", "false"));
    }
    let heads = keys.number("attention.head_count")?;
    let width = keys.number("embedding_length")?;
    let head = match keys.find_number("attention.key_length")? {
        Some(head) => head,
        None => width.checked_div(heads).unwrap_or(0),
    };
    if let Some(value) = keys.find_number("attention.value_length")?
        && value != head
    {
        return Err(keys.unsupported("attention.value_length", &value.to_string()));
    }
    Ok(Plan {
        layers: keys.number("block_count")?,
        width,
        heads,
        key_heads: keys
            .find_number("attention.head_count_kv")?
            .unwrap_or(heads),
        head,
        feed_forward,
        experts: None,
        vocabulary: keys.vocabulary()?,
        context: keys.number("context_length")?,
        epsilon: keys.float("attention.layer_norm_rms_epsilon")?,
        gate: Gate::Silu,
        rope: rope(keys, pairs, head)?,
        local: None,
        scores: Scores {
            scale: 1.0 / (head as f32).sqrt(),
            cap: None,
        },
        scales: Scales::default(),
        pooling: pooling(keys)?,
    })
}

/// The mean is what most people expect of a model that does not say.
pub(super) fn pooling(keys: &Keys<'_>) -> Result<Pooling, PlanError> {
    // `llama_pooling_type` in llama.h.
    match keys.find_number("pooling_type")? {
        None | Some(0 | 1) => Ok(Pooling::Mean),
        Some(2) => Ok(Pooling::Cls),
        Some(3) => Ok(Pooling::Last),
        Some(other) => Err(keys.unsupported("pooling_type", &other.to_string())),
    }
}

pub(super) fn rope(keys: &Keys<'_>, pairs: Pairs, head: usize) -> Result<Rope, PlanError> {
    let scaling = keys.text("rope.scaling.type").unwrap_or("none");
    let factor = match keys.factor("rope.scaling.factor")? {
        Some(factor) => Some(factor),
        // The name that the first files with it used.
        None => keys.factor("rope.scale_linear")?,
    };
    let stretch = match scaling {
        // As llama.cpp: what has factors by length may be stretched as well.
        "linear" | "longrope" => factor.unwrap_or(1.0),
        // Files from before the type had a name mean a linear one by a factor.
        "none" if keys.text("rope.scaling.type").is_none() => factor.unwrap_or(1.0),
        "none" => 1.0,
        other => return Err(keys.unsupported("rope.scaling.type", other)),
    };
    let trained = keys.find_number("rope.scaling.original_context_length")?;
    Ok(Rope {
        pairs,
        dimensions: keys.find_number("rope.dimension_count")?.unwrap_or(head),
        base: keys.find_float("rope.freq_base")?.unwrap_or(10_000.0),
        stretch,
        magnitude: keys.factor("rope.scaling.attn_factor")?.unwrap_or(1.0),
        short_context: trained.unwrap_or(usize::MAX),
    })
}

fn granite(keys: &Keys<'_>) -> Result<Plan, PlanError> {
    // In its files this says whether positions turn anything at all.
    if keys.flag("rope.scaling.finetuned") == Some(false) {
        return Err(keys.unsupported("rope.scaling.finetuned", "false"));
    }
    let mut plan = usual(keys, Pairs::Adjacent)?;
    if let Some(scale) = keys.factor("attention.scale")? {
        plan.scores.scale = scale;
    }
    plan.scales.embedding = keys.factor("embedding_scale")?.unwrap_or(1.0);
    plan.scales.residual = keys.factor("residual_scale")?.unwrap_or(1.0);
    plan.scales.logits = 1.0 / keys.factor("logit_scale")?.unwrap_or(1.0);
    Ok(plan)
}

/// Qwen 3 with experts.
fn qwen3moe(keys: &Keys<'_>) -> Result<Plan, PlanError> {
    let experts = Experts {
        count: keys.number("expert_count")?,
        used: keys.number("expert_used_count")?,
    };
    // What other families with experts do, and llama.cpp would not do for this one.
    let scale = keys.factor("expert_weights_scale")?;
    if let Some(scale) = scale.filter(|&scale| scale != 1.0) {
        return Err(keys.unsupported("expert_weights_scale", &scale.to_string()));
    }
    let groups = keys.find_number("expert_group_count")?;
    if let Some(groups) = groups.filter(|&groups| groups > 1) {
        return Err(keys.unsupported("expert_group_count", &groups.to_string()));
    }
    if keys.flag("expert_weights_norm") == Some(false) {
        return Err(keys.unsupported("expert_weights_norm", "false"));
    }
    let inner = match keys.find_number("expert_feed_forward_length")? {
        Some(inner) if inner > 0 => inner,
        // As llama.cpp: what the experts of a row have together.
        _ => keys.number("feed_forward_length")? / experts.used.max(1),
    };
    let mut plan = decoder(keys, Pairs::Halves, inner)?;
    plan.experts = Some(experts);
    Ok(plan)
}

fn gemma(keys: &Keys<'_>) -> Result<Plan, PlanError> {
    let mut plan = usual(keys, Pairs::Halves)?;
    plan.gate = Gate::Gelu;
    plan.scales.embedding = (plan.width as f32).sqrt();
    Ok(plan)
}

fn gemma2(keys: &Keys<'_>) -> Result<Plan, PlanError> {
    let mut plan = gemma(keys)?;
    plan.scores.cap = keys.factor("attn_logit_softcapping")?.or(Some(50.0));
    plan.scales.logit_cap = keys.factor("final_logit_softcapping")?.or(Some(30.0));
    // The largest of them, and only it, scales by the width that heads would have otherwise.
    if plan.layers == 46 {
        plan.scores.scale = 1.0 / (plan.width as f32 / plan.heads as f32).sqrt();
    }
    plan.local = Some(Local {
        window: window(keys)?.unwrap_or(4096),
        period: period(keys, 2)?,
        rope: Rope {
            base: local_base(keys)?.unwrap_or(plan.rope.base),
            ..plan.rope
        },
    });
    Ok(plan)
}

fn gemma3(keys: &Keys<'_>) -> Result<Plan, PlanError> {
    let mut plan = gemma(keys)?;
    plan.scales.logit_cap = keys.factor("final_logit_softcapping")?;
    if plan.layers == 62 {
        plan.scores.scale = 1.0 / (plan.width as f32 / plan.heads as f32).sqrt();
    }
    if let Some(window) = window(keys)? {
        plan.local = Some(Local {
            window,
            period: period(keys, 6)?,
            rope: Rope {
                base: local_base(keys)?.unwrap_or(10_000.0),
                stretch: 1.0,
                ..plan.rope
            },
        });
    }
    Ok(plan)
}

/// Of so many layers the last sees everything.
fn period(keys: &Keys<'_>, usual: usize) -> Result<usize, PlanError> {
    let period = keys.find_number("attention.sliding_window_pattern")?;
    Ok(period.filter(|&period| period > 0).unwrap_or(usual))
}

/// The base of the rotation in layers with a window.
fn local_base(keys: &Keys<'_>) -> Result<Option<f32>, PlanError> {
    keys.find_float("rope.freq_base_swa")
}

fn window(keys: &Keys<'_>) -> Result<Option<u32>, PlanError> {
    let window = keys.find_number("attention.sliding_window")?;
    let window = window.filter(|&window| window > 0);
    // A window beyond any context is none.
    Ok(window.and_then(|window| u32::try_from(window).ok()))
}
