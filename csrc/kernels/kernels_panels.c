/* The step algorithm panels. */
#include "kernels/subject_tables.h"

#include "kernels/step_panels.h"

const struct panels_kernels TABLE_OF(panels) = {
    .panel_scores = panel_scores,
    .panel_cross_entropy = panel_cross_entropy,
    .training_cross_entropy = training_cross_entropy,
    .panel_update = panel_update,
    .panel_update_intercept = panel_update_intercept,
};
