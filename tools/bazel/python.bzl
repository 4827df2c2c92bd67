"""The Python rules under one name. Bazel 4 has them built in; for a newer one load them here from rules_python."""

py_library = native.py_library

def pytest_folder(name, deps = [], data = [], **kwargs):
    """A test target that runs pytest on the folder of the BUILD file: its own *.py and the data beside them."""
    native.py_test(
        name = name,
        size = "large",
        timeout = "eternal",
        srcs = native.glob(["*.py"]) + ["//tools/bazel:run_pytest.py"],
        main = "//tools/bazel:run_pytest.py",
        args = [native.package_name()],
        data = native.glob(["**"], exclude = ["*.py", "BUILD", "**/__pycache__/**"]) + ["//:pyproject.toml"] + data,
        deps = deps,
        **kwargs
    )
