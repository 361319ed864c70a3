"""An optimizer that Keras has for matrices alone, for convolutions too."""

import math
import re

import keras
from keras import ops, saving

SMALLEST = 16  # rows and columns of a matrix from which on its updates are orthogonalised


@saving.register_keras_serializable("lessons_lib")
class Muon(keras.optimizers.Muon):
    """Momentum whose updates are orthogonalised (Jordan et al. 2024), as Keras' Muon does, but of convolutions' kernels too.

    A kernel (height, width, inputs, outputs) counts as the matrix that it is for a patch of the image, (height * width * inputs,
    outputs). Of an update U S V^T it takes U V^T, which five Newton-Schulz steps find up to a factor of 0.7 to 1.2 for each
    direction that is longer than about 0.15 % of the whole, times 0.2 sqrt(max(rows, columns)), so that it is as large as Adam's
    (Liu et al. 2025). Vectors, matrices with fewer than 16 rows or columns (normalisations, the network's last layer), and what
    Keras' `exclude_layers` and `exclude_embeddings` name get Adam's updates, with the same learning rate. Without weight decay,
    unless it is asked for. Other arguments are those of Keras.
    """

    def __init__(self, learning_rate=1e-3, adam_beta_2=0.99, adam_weight_decay=None, weight_decay=None, **kwargs):
        rest = {"adam_beta_2": adam_beta_2, "adam_weight_decay": adam_weight_decay, "weight_decay": weight_decay}
        super().__init__(learning_rate, **rest, **kwargs)

    def _should_use_adamw(self, variable):
        *inputs, outputs = (1, *variable.shape)
        small = min(math.prod(inputs), outputs) < SMALLEST
        embedding = self.exclude_embeddings and "embedding" in variable.path.lower()
        return small or embedding or any(re.search(word, variable.path) for word in self.exclude_layers)

    def _muon_update_step(self, gradient, variable, lr, m):
        matrix = (-1, variable.shape[-1])  # which the gradient may not know, where the batch's size is open
        self.assign(m, self.momentum * m + gradient)
        looked_ahead = gradient + self.momentum * m if self.nesterov else m
        update = self.zeropower_via_newtonschulz5(ops.reshape(looked_ahead, matrix), self.ns_steps)
        self.assign_sub(variable, ops.reshape(self.lr_adjust(lr * update), variable.shape))
