# `conda activate` stays where it is: in the environment that is already active.
conda() { :; }
