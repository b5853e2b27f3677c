# Homebrew: `brew install --HEAD ./deploy/shimmy.rb` builds what is on the main branch. A release puts
# its archive's address and checksum below the licence.
class Shimmy < Formula
  desc "Local inference server for GGUF models, behind the APIs that tools already speak"
  homepage "https://github.com/shimmy-rs/shimmy"
  license "MIT"
  head "https://github.com/shimmy-rs/shimmy.git", branch: "main"

  depends_on "cmake" => :build
  depends_on "llvm" => :build
  depends_on "rust" => :build

  def install
    # A bottle runs on other machines than the one that made it.
    args = std_cargo_args(path: "crates/shimmy")
    args += ["--features", (OS.mac? && Hardware::CPU.arm?) ? "metal" : "llama"]
    ENV["LIBCLANG_PATH"] = Formula["llvm"].opt_lib
    system "cargo", "install", *args
    generate_completions_from_executable(bin/"shimmy", "completions")
    (buildpath/"man").mkpath
    system bin/"shimmy", "man", "--output", buildpath/"man"
    man1.install Dir["man/*.1"]
  end

  service do
    run [opt_bin/"shimmy", "serve"]
    keep_alive successful_exit: false
    log_path var/"log/shimmy.log"
    error_log_path var/"log/shimmy.log"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/shimmy --version") unless build.head?
    assert_match "no models found", shell_output("#{bin}/shimmy list 2>&1", 1)
  end
end
