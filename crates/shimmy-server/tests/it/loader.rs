//! A loader that knows a handful of models: one that answers, and one for each way not to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use shimmy_chat::{ChatTemplate, TemplateVocabulary};
use shimmy_engine::stub::{StubConfig, session};
use shimmy_engine::{AdapterId, AdapterScale, EngineConfig, SamplingParams};
use shimmy_server::{
    AdapterFailure, AdapterInfo, AdapterListing, Capability, EngineReport, Hold, KeepAlive,
    LoadError, LoadedModel, Loader, ModelDetails, ModelEvents, ModelInfo, ModelStatus, NewAdapter,
    Preset, Resident,
};

/// A loader for servers that never get a request.
pub(crate) fn loader() -> Arc<dyn Loader> {
    let (stub, engine) = (StubConfig::default(), EngineConfig::default());
    let model = model(stub, engine, false, None, Preset::default());
    Arc::new(TestLoader::new(Arc::new(model)))
}

pub(crate) struct TestLoader {
    model: Arc<LoadedModel>,
    events: ModelEvents,
    /// What requests said of how long the model is to stay.
    pub(crate) kept_alive: Mutex<Vec<KeepAlive>>,
}

/// A template that tells the model of its tools.
pub(crate) const TOOLS_TEMPLATE: &str = "\
{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}\
{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}\
{% if message.tool_calls %}{{ message.tool_calls | tojson }}{% endif %}<|im_end|>\n{% endfor %}\
{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

pub(crate) fn model(
    stub: StubConfig,
    engine: EngineConfig,
    base_model: bool,
    template: Option<&str>,
    preset: Preset,
) -> LoadedModel {
    let adapters = (0..stub.adapters as u32)
        .map(|id| AdapterInfo {
            id: AdapterId(id),
            name: format!("adapter-{id}"),
            path: format!("/adapters/{id}.gguf").into(),
            scale: 0.0,
        })
        .collect::<Vec<_>>();
    let session = session(stub, engine);
    let specials = if base_model {
        &[][..]
    } else {
        session.tokenizer().special_texts()
    };
    let vocabulary = TemplateVocabulary {
        specials: specials.to_vec(),
        ..TemplateVocabulary::default()
    };
    let template = ChatTemplate::new(template, vocabulary).unwrap();
    LoadedModel {
        engine: "stub",
        placement: "cpu".to_owned(),
        name: "stub".to_owned(),
        session,
        template: Arc::new(template),
        info: info("stub"),
        default_sampling: SamplingParams {
            temperature: 0.0,
            ..SamplingParams::default()
        },
        preset: Arc::new(preset),
        default_adapters: Vec::new(),
        adapters: Arc::new(adapters.into()),
        load_time: Duration::from_millis(7),
        hold: Hold::default(),
    }
}

fn info(name: &str) -> ModelInfo {
    ModelInfo {
        name: name.to_owned(),
        size_bytes: 1234,
        model_type: "stub".to_owned(),
        parameter_count: Some(5678),
        quantization: Some("Q8_0".to_owned()),
        context_length: Some(4096),
        source: "test".to_owned(),
        modified: Some(jiff::Timestamp::from_second(1_700_000_000).unwrap()),
        loaded: name == "stub",
        loading: None,
        chat: true,
        capabilities: vec![Capability::Tools],
        sha256: None,
        problem: None,
        ..ModelInfo::default()
    }
}

impl TestLoader {
    /// A loader of a model that is in memory already.
    pub(crate) fn new(model: Arc<LoadedModel>) -> Self {
        let events = ModelEvents::default();
        events.loaded(model.load_time);
        Self {
            model,
            events,
            kept_alive: Mutex::default(),
        }
    }

    /// The model as who names an adapter sees it.
    fn adapted(&self, adapter: AdapterInfo) -> Arc<LoadedModel> {
        let applied = AdapterScale {
            id: adapter.id,
            scale: 1.0,
        };
        let held = self.model.adapters.hold(&[applied]).unwrap();
        Arc::new(LoadedModel {
            name: adapter.name,
            default_adapters: vec![applied],
            hold: Hold::new(held),
            ..LoadedModel::clone(&self.model)
        })
    }

    /// For what takes `default` by its name; a load gets none.
    fn find(&self, name: &str) -> Result<ModelInfo, LoadError> {
        let name = if name == "default" { "stub" } else { name };
        self.list()
            .into_iter()
            .find(|info| info.name == name)
            .ok_or_else(|| LoadError::NotFound {
                name: name.to_owned(),
                suggestions: vec!["stub".to_owned()],
            })
    }
}

impl Loader for TestLoader {
    fn list(&self) -> Vec<ModelInfo> {
        let broken = ModelInfo {
            problem: Some("cut short".to_owned()),
            ..info("broken")
        };
        vec![info("stub"), info("owner/tiny:q4"), broken]
    }

    fn discover(&self) -> Vec<ModelInfo> {
        self.list()
    }

    fn load<'a>(
        &'a self,
        name: Option<&'a str>,
        keep_alive: KeepAlive,
    ) -> BoxFuture<'a, Result<Arc<LoadedModel>, LoadError>> {
        self.kept_alive.lock().unwrap().push(keep_alive);
        let loaded = match name {
            None | Some("stub" | "owner/tiny:q4") => Ok(Arc::clone(&self.model)),
            Some("ambiguous") => Err(LoadError::Ambiguous {
                name: "ambiguous".to_owned(),
                candidates: vec!["a".to_owned(), "b".to_owned()],
            }),
            Some("broken") => Err(LoadError::Failed {
                name: "broken".to_owned(),
                reason: "the file is cut short".to_owned(),
            }),
            Some("hidden") => Err(LoadError::Failed {
                name: "/srv/secret/hidden.gguf".to_owned(),
                reason: "cannot read '/srv/my secret/hidden.gguf': denied".to_owned(),
            }),
            Some("never") => return std::future::pending().boxed(),
            Some("busy") => Err(LoadError::Busy {
                name: "busy".to_owned(),
            }),
            Some(name) => match self.model.adapters.named(name) {
                Some(adapter) => Ok(self.adapted(adapter)),
                None => Err(self.find(name).unwrap_err()),
            },
        };
        std::future::ready(loaded).boxed()
    }

    fn unload<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<bool, LoadError>> {
        std::future::ready(self.find(name).map(|info| info.loaded)).boxed()
    }

    fn residents(&self) -> Vec<Resident> {
        vec![Resident {
            model: Arc::clone(&self.model),
            expires_at: None,
            memory_bytes: 4096,
            gpu_bytes: 0,
        }]
    }

    fn status(&self, name: &str) -> Result<ModelStatus, LoadError> {
        let info = self.find(name)?;
        let engine = info.loaded.then(|| EngineReport::of(&self.model));
        Ok(ModelStatus {
            info,
            engine,
            ..ModelStatus::default()
        })
    }

    fn details<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<ModelDetails, LoadError>> {
        let details = self.find(name).and_then(|info| match info.problem {
            Some(reason) => Err(LoadError::Failed {
                name: info.name,
                reason,
            }),
            None => Ok(ModelDetails {
                info,
                template: Some("{{ messages }}".to_owned()),
                license: Some("apache-2.0".to_owned()),
                context: 4096,
                parameters: vec![
                    ("temperature".to_owned(), json!(0.6)),
                    ("top_k".to_owned(), json!(20)),
                    ("stop".to_owned(), json!(["<|end|>", "\n"])),
                ],
                metadata: metadata(),
                ..ModelDetails::default()
            }),
        });
        std::future::ready(details).boxed()
    }

    fn adapters(&self) -> Vec<AdapterListing> {
        let adapters = self.model.adapters.all().into_iter();
        adapters
            .map(|adapter| AdapterListing {
                name: adapter.name,
                parent: Some("stub".to_owned()),
                file: format!("{}.gguf", adapter.id.0),
                modified: None,
                loaded: true,
            })
            .collect()
    }

    fn adapt<'a>(
        &'a self,
        model: &'a LoadedModel,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(), AdapterFailure>> {
        let name = name.to_owned();
        let failure = match name.as_str() {
            "foreign" => AdapterFailure::Foreign {
                name,
                model: model.info.name.clone(),
                reason: "the shapes differ".to_owned(),
            },
            _ => AdapterFailure::NotFound { name },
        };
        std::future::ready(Err(failure)).boxed()
    }

    fn load_adapter<'a>(
        &'a self,
        adapter: NewAdapter<'a>,
    ) -> BoxFuture<'a, Result<(), AdapterFailure>> {
        async move {
            let name = adapter.name.to_owned();
            if let Some(base) = adapter.base {
                self.load(Some(base), KeepAlive::Default).await?;
            }
            if self.model.adapters.named(&name).is_some() {
                return Err(AdapterFailure::Taken { name });
            }
            if adapter.path.contains("..") {
                let reason = "is not in /srv/models/x.gguf".to_owned();
                return Err(AdapterFailure::Path { reason });
            }
            let engine = self.model.session.engine();
            let id = engine.load_adapter(adapter.path.into()).await.unwrap();
            self.model.adapters.add(AdapterInfo {
                id,
                name,
                path: adapter.path.into(),
                scale: 0.0,
            });
            Ok(())
        }
        .boxed()
    }

    fn unload_adapter<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), AdapterFailure>> {
        async move {
            let leaving = self.model.adapters.remove(name);
            let leaving = leaving.ok_or_else(|| AdapterFailure::NotFound {
                name: name.to_owned(),
            })?;
            leaving.unused().await;
            let engine = self.model.session.engine();
            assert!(engine.unload_adapter(leaving.info.id).await.unwrap());
            Ok(())
        }
        .boxed()
    }

    fn events(&self) -> &ModelEvents {
        &self.events
    }

    fn diagnostics(&self) -> Value {
        json!({ "devices": [], "cpu_features": ["stub"] })
    }
}

/// What a model's file says.
fn metadata() -> serde_json::Map<String, Value> {
    let metadata = json!({
        "general.architecture": "stub",
        "stub.context_length": 4096,
        "tokenizer.chat_template": "{{ messages }}",
        "tokenizer.ggml.tokens": null,
    });
    metadata.as_object().unwrap().clone()
}
