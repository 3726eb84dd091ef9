"""Build with: pip install --no-build-isolation examples/extension."""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

import fastsoftmax

setup(
    name="losses",
    ext_modules=cythonize(
        [
            Extension(source.stem, [source.name], include_dirs=[fastsoftmax.get_include()])
            for source in sorted(Path().glob("*.pyx"))
        ],
        # Where Cython finds fastsoftmax/c_api.pxd, also where the package is installed editable.
        include_path=[str(Path(fastsoftmax.__file__).parents[1])],
    ),
)
