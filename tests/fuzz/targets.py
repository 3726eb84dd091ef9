"""All targets that are functions of bytes: they return, or raise what is a finding."""

from . import api_targets, model_targets, reader_targets, record_targets

TARGETS = {
    **reader_targets.TARGETS,
    **model_targets.TARGETS,
    **record_targets.TARGETS,
    **api_targets.TARGETS,
}
