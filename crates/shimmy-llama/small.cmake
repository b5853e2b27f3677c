# Included after llama.cpp's `project()`; `.cargo/config.toml` names it in CMAKE_PROJECT_INCLUDE.
#
# The library `llama` reads files and builds graphs, for more than a hundred architectures: code that
# runs once per load or once per step, and two megabytes of it. It is compiled for size. The
# arithmetic is ggml's, which keeps its own flags.
if(PROJECT_NAME STREQUAL "llama.cpp" AND NOT MSVC)
    cmake_language(DEFER CALL target_compile_options llama PRIVATE -Os)
endif()
