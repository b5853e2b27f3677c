//! Graphics processors: which backends this build has, what they see, and why no more.
//!
//! Owns what the system shows of cards and drivers without any backend, read below a root so that a
//! test can make up a machine. It must not know how any of it is printed.

use std::fs::{self, File};
use std::path::Path;

use serde::Serialize;

use crate::backend::{self, Device};

/// A way to compute on graphics processors, in this build and on this machine.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct GpuBackend {
    pub(crate) name: &'static str,
    /// Whether this build has it.
    pub(crate) compiled: bool,
    /// What it sees.
    pub(crate) devices: Vec<Device>,
    /// Why it sees nothing.
    pub(crate) reason: Option<String>,
    /// What would help; none where nothing would.
    pub(crate) hint: Option<String>,
}

/// What the system shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    is_macos: bool,
    /// Makers of the cards on the bus.
    nvidia_card: bool,
    amd_card: bool,
    any_card: bool,
    nvidia_driver: bool,
    kfd: Access,
    render: Access,
    vulkan_driver: bool,
}

/// Whether a device file can be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Access {
    #[default]
    Absent,
    Denied,
    Open,
}

/// Every backend there is, in this build or not.
pub(crate) fn backends() -> Vec<GpuBackend> {
    let machine = Machine::read(Path::new("/"));
    let (compiled, devices) = (backend::gpu_backends(), backend::devices());
    let mut all: Vec<GpuBackend> = ["cuda", "metal", "vulkan", "rocm"]
        .into_iter()
        .map(|name| {
            let is_compiled = compiled.contains(&name);
            let its = devices.iter().filter(|device| is_of(name, device));
            machine.backend(name, is_compiled, its.cloned().collect())
        })
        .collect();
    // Whoever has a card at work needs no other way to it.
    if all.iter().any(|backend| !backend.devices.is_empty()) {
        all.iter_mut().for_each(|backend| backend.hint = None);
    }
    all
}

/// Whether a device is one of this backend's, by the names that ggml gives them: CUDA0, Vulkan0.
fn is_of(backend: &str, device: &Device) -> bool {
    let prefixes: &[&str] = match backend {
        "cuda" => &["CUDA"],
        "metal" => &["Metal", "MTL"],
        "vulkan" => &["Vulkan"],
        "rocm" => &["ROCm", "HIP"],
        _ => &[],
    };
    prefixes
        .iter()
        .any(|prefix| device.name.starts_with(prefix))
}

impl Machine {
    fn read(root: &Path) -> Self {
        let makers = cards(root);
        Self {
            is_macos: cfg!(target_os = "macos"),
            nvidia_card: makers.iter().any(|maker| maker == "0x10de"),
            amd_card: makers.iter().any(|maker| maker == "0x1002"),
            any_card: !makers.is_empty(),
            nvidia_driver: root.join("proc/driver/nvidia/version").exists(),
            kfd: Access::of(&root.join("dev/kfd")),
            render: render(root),
            vulkan_driver: ["usr/share/vulkan/icd.d", "etc/vulkan/icd.d"]
                .iter()
                .any(|folder| {
                    fs::read_dir(root.join(folder)).is_ok_and(|mut it| it.next().is_some())
                }),
        }
    }

    fn backend(&self, name: &'static str, compiled: bool, devices: Vec<Device>) -> GpuBackend {
        let (reason, hint) = match (devices.as_slice(), compiled) {
            ([_, ..], _) => (None, None),
            ([], true) => {
                let (reason, hint) = self.unseen(name);
                (Some(reason.to_owned()), hint.map(str::to_owned))
            }
            ([], false) => (
                Some("it is not in this build".to_owned()),
                self.worth_building(name),
            ),
        };
        GpuBackend {
            name,
            compiled,
            devices,
            reason,
            hint,
        }
    }

    /// Why a backend of this build sees no device, and what would help.
    fn unseen(&self, name: &str) -> (&'static str, Option<&'static str>) {
        match name {
            "cuda" if self.nvidia_driver => (
                "a driver is loaded, but it shows no card",
                Some("look at CUDA_VISIBLE_DEVICES and, in a container, at `--gpus all`"),
            ),
            "cuda" if self.nvidia_card => (
                "there is an NVIDIA card, and no driver for it is loaded",
                Some("install NVIDIA's driver; `nvidia-smi` then shows the card"),
            ),
            "cuda" => ("no NVIDIA card is seen", None),
            "rocm" => match self.kfd {
                Access::Open => (
                    "the driver shows no card that ROCm can use",
                    Some("look at ROCR_VISIBLE_DEVICES; `rocminfo` lists what there is"),
                ),
                Access::Denied => (
                    "this user may not open /dev/kfd",
                    Some("add the user to the groups render and video, and log in again"),
                ),
                Access::Absent if self.amd_card => (
                    "there is an AMD card, and the driver amdgpu is not loaded",
                    Some(
                        "install it; /dev/kfd is there then, in a container with --device /dev/kfd",
                    ),
                ),
                Access::Absent => ("no AMD card is seen", None),
            },
            "vulkan" => match (self.render, self.vulkan_driver) {
                (Access::Denied, _) => (
                    "this user may not open /dev/dri/renderD*",
                    Some("add the user to the group render, and log in again"),
                ),
                (_, false) => (
                    "no Vulkan driver is installed",
                    Some("install the one of your card: mesa-vulkan-drivers, or NVIDIA's"),
                ),
                (Access::Absent, true) => ("no card is seen", None),
                (Access::Open, true) => (
                    "the drivers show no device",
                    Some("`vulkaninfo --summary` says what they see"),
                ),
            },
            "metal" if self.is_macos => ("Metal shows no device", None),
            "metal" => ("Metal is there on macOS only", None),
            _ => ("nothing is known of it", None),
        }
    }

    /// How to get a backend that this machine has a card for.
    fn worth_building(&self, name: &str) -> Option<String> {
        let is_worth = match name {
            "cuda" => self.nvidia_card || self.nvidia_driver,
            "rocm" => self.amd_card || self.kfd != Access::Absent,
            "vulkan" => self.any_card || self.render != Access::Absent,
            "metal" => self.is_macos,
            _ => false,
        };
        is_worth.then(|| format!("cargo build --release --features {name}"))
    }
}

impl Access {
    fn of(path: &Path) -> Self {
        match File::options().read(true).write(true).open(path) {
            Ok(_) => Self::Open,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::Absent,
            Err(_) => Self::Denied,
        }
    }
}

/// The makers of the display controllers on the bus, by their numbers.
fn cards(root: &Path) -> Vec<String> {
    let devices = fs::read_dir(root.join("sys/bus/pci/devices"));
    let devices = devices.into_iter().flatten().filter_map(Result::ok);
    let fact = |folder: &Path, name| fs::read_to_string(folder.join(name)).unwrap_or_default();
    devices
        .map(|device| device.path())
        .filter(|folder| fact(folder, "class").starts_with("0x03"))
        .map(|folder| fact(&folder, "vendor").trim().to_owned())
        .collect()
}

/// The best access to any of the nodes that compute.
fn render(root: &Path) -> Access {
    let nodes = fs::read_dir(root.join("dev/dri"));
    let nodes = nodes.into_iter().flatten().filter_map(Result::ok);
    let is_render = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap_or_default();
        name.as_encoded_bytes().starts_with(b"renderD")
    };
    let nodes = nodes.map(|node| node.path()).filter(is_render);
    let all: Vec<Access> = nodes.map(|path| Access::of(&path)).collect();
    match all.as_slice() {
        [] => Access::Absent,
        some if some.contains(&Access::Open) => Access::Open,
        _ => Access::Denied,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_card_without_its_driver_is_told_from_no_card() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let reason = |name| {
            let backend = Machine::read(root).backend(name, true, Vec::new());
            (backend.reason.unwrap(), backend.hint.is_some())
        };
        assert_eq!(reason("cuda"), ("no NVIDIA card is seen".to_owned(), false));
        assert_eq!(reason("rocm"), ("no AMD card is seen".to_owned(), false));
        for (slot, class, vendor) in [("0", "0x030200", "0x10de\n"), ("1", "0x020000", "0x1002\n")]
        {
            write(root, &format!("sys/bus/pci/devices/{slot}/class"), class);
            write(root, &format!("sys/bus/pci/devices/{slot}/vendor"), vendor);
        }
        assert!(
            reason("cuda").0.contains("no driver"),
            "{:?}",
            reason("cuda")
        );
        assert_eq!(
            reason("rocm").0,
            "no AMD card is seen",
            "a network card is no display"
        );
        write(root, "proc/driver/nvidia/version", "580");
        assert!(reason("cuda").0.contains("shows no card"));
        write(root, "dev/kfd", "");
        assert!(reason("rocm").0.contains("ROCm can use"));
        write(root, "dev/dri/renderD128", "");
        assert!(reason("vulkan").0.contains("no Vulkan driver"));
        write(root, "usr/share/vulkan/icd.d/x.json", "{}");
        assert!(reason("vulkan").0.contains("show no device"));
    }

    #[test]
    fn a_build_without_a_backend_says_how_to_get_it_where_there_is_a_card() {
        let machine = Machine {
            nvidia_card: true,
            ..Machine::default()
        };
        let cuda = machine.backend("cuda", false, Vec::new());
        assert_eq!(cuda.reason.as_deref(), Some("it is not in this build"));
        assert!(
            cuda.hint
                .is_some_and(|hint| hint.contains("--features cuda"))
        );
        assert_eq!(machine.backend("rocm", false, Vec::new()).hint, None);
    }
}
