// Heads of indirect object identification (Wang et al. 2022): name movers, negative movers, S-inhibition.
//
//   const MoverScores s = mover_scores(model, find_task("ioi").make(source, 16, seed), progress);
//   s.name_mover[layer * H + head];
//
// Over the prompts: attention at END to IO, S1 and S2 (fused, no pattern is stored), and the head's direct effect on
// logit(IO) - logit(S) at END (folded biases, the final norm's scale as it was). A name mover attends to IO and writes IO:
// name_mover = mean of A[END, IO] over prompts with a direct effect > 0 counted, others as 0; negative_mover with < 0;
// s_inhibition = mean A[END, S2]. copy_score: share of the prompts' names that are in the top five when the stream at the name
// after block 0 goes through the head's OV, final norm and unembedding; copy_score_negative the same with -OV.
#pragma once

#include <vector>

#include "microtome/circuits/tasks/task.h"
#include "microtome/model/model.h"

namespace microtome::heads {

struct MoverScores {
  std::vector<double> name_mover, negative_mover, s_inhibition;  // [heads]
  double accuracy = 0;                                           // share of the prompts on which IO is likelier than S
  std::vector<double> dla, attends_io, copy_score, copy_score_negative;
  // Controls: the first two with S1 in IO's place; attention at END to the third name of a text of three different ones.
  std::vector<double> name_mover_control, negative_mover_control, s_inhibition_control;
};

// `prompts` must have the roles IO, S1, S2, END (and `control` for the control of s_inhibition, else that is empty).
MoverScores mover_scores(const Model& model, const std::vector<TaskExample>& prompts, bool copy_scores,
                         Progress* progress = nullptr, const Plan* edits = nullptr);

}  // namespace microtome::heads
