"""Packaging of transm3e; constraints.txt has the tested versions."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = "0.1.0"

setup(
    name="transm3e",
    version=VERSION,
    description="Activated muscle group estimation from video: TransM3E, its baselines and benchmarks",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["transm3e", "transm3e.*"]),
    package_data={"transm3e.web": ["page.html"]},
    install_requires=[
        "torch>=2.4",
        "torchvision>=0.19",
        "numpy",
        "fvcore",
        "iopath",
        "pytorchvideo",
        "scikit-learn",
        "scipy",
        "PyYAML",
        "opencv-python",
        "safetensors",
        "av>=14.1,<20",  # its API changes with each major version; tested from the first to the last of these
        "simplejson",
        "tensorboard",
        "matplotlib",
        "tqdm",
    ],
    extras_require={
        "dev": ["pytest", "pytest-xdist", "hypothesis", "ruff", "mypy", "submitit", "ai-edge-litert"],
        "pose": ["ai-edge-litert"],
        "slurm": ["submitit"],
        "torchcodec": ["torchcodec"],
    },
)
