"""Where the package's folders are; everything else about the package stands in pyproject.toml.

`kernels/` and `weights/` hold data only. They live beside the package in a checkout and inside it in a wheel.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["flowzoo", "flowzoo.*"]), "flowzoo.kernels", "flowzoo.weights"],
    package_dir={"flowzoo.kernels": "kernels", "flowzoo.weights": "weights"},
    package_data={
        "flowzoo": ["py.typed", "presets/*.toml", "demo/page/*"],
        "flowzoo.kernels": ["*.cu", "*.cuh", "*.cpp", "*.h"],
        "flowzoo.weights": ["*.toml", "*.safetensors", "*.md", "*.txt"],
    },
)
