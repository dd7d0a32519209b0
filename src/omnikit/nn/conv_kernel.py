"""Convolutions over time as a C kernel that multiplies half as often as the direct sum, for inference on a CPU.

Four outputs of a convolution with four taps are a product of polynomials. Evaluated at seven points it takes seven
products instead of sixteen, and what is evaluated is evaluated once for all channels. A longer kernel is a sum of
pieces of four taps, which share the evaluated input; a dilated one is several plain ones beside each other. The leaky
ReLU of the input, the bias and a sum with other rows are done on the way, and what lies between stays in the cache.

Letters: C channels in, C' out, K taps, J pieces of taps, P points, T steps. A tile is four outputs.

Ref: Toom, "The Complexity of a Scheme of Functional Elements", 1963, and Cook, 1966 (the evaluation); Winograd,
"Arithmetic Complexity of Computations", 1980 (its transpose, for filters); Lavin and Gray, CVPR 2016 (many channels).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

import torch
from torch import Tensor

from omnikit.nn.native import library

_OUTPUTS = TAPS = 4
_POINTS = tuple(map(Fraction, ("0", "1", "-1", "2", "-2", "-1/2")))  # and infinity; small ones lose fewest digits
_Matrix = list[list[Fraction]]


def _matrices() -> tuple[_Matrix, _Matrix, _Matrix]:
    """What is applied to seven inputs [P, P], to four taps [P, 4] and, for four outputs, to seven products [4, P]."""
    size = _OUTPUTS + TAPS - 1

    def evaluated(count: int) -> _Matrix:
        return [[p**power for power in range(count)] for p in _POINTS] + [[Fraction(0)] * (count - 1) + [Fraction(1)]]

    wide = [row + [Fraction(i == j) for j in range(size)] for i, row in enumerate(evaluated(size))]
    for column in range(size):  # Gauss and Jordan, exactly
        pivot = next(row for row in range(column, size) if wide[row][column])
        wide[column], wide[pivot] = wide[pivot], wide[column]
        wide[column] = [value / wide[column][column] for value in wide[column]]
        for row in set(range(size)) - {column}:
            wide[row] = [a - wide[row][column] * b for a, b in zip(wide[row], wide[column], strict=True)]
    inputs = [[wide[j][size + i] for j in range(size)] for i in range(size)]
    taps, outputs = evaluated(TAPS), [list(row) for row in zip(*evaluated(_OUTPUTS), strict=True)]
    for row in range(size):  # whole numbers for the inputs, of which there are more than taps
        scale = Fraction(max(value.denominator for value in inputs[row]))
        inputs[row] = [value * scale for value in inputs[row]]
        taps[row] = [value / scale for value in taps[row]]
    return inputs, taps, outputs


_SOURCE = r"""
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#pragma GCC optimize("finite-math-only", "no-signed-zeros")  /* products with the zeros of the matrices vanish */

#if defined __AVX512F__
enum { LANES = 16, ROWS = 12 };
#elif defined __AVX__
enum { LANES = 8, ROWS = 6 };
#else
enum { LANES = 4, ROWS = 6 };
#endif
enum { PANEL = 2 * LANES, TILES = 192, AHEAD = 4096, MOST_THREADS = 64 };
typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* A convolution of a signal x of `dim` channels, of which the steps `first` to `stop` are there and all others zero.
   Output t reads x from step t - before on; outputs `start` to `end` go to y. With one point they are direct sums. */
typedef struct {
    const float *x, *weight, *bias, *add;   /* add: rows added to the outputs, or NULL */
    float *y;
    int64_t first, stop, before, start, end, dim, out_dim, pieces, dilation, points, onto;  /* onto: y is added to */
    float slope;                            /* of the leaky ReLU that x goes through; 1: none */
} Job;

int64_t panel_size(void) { return PANEL; }

static int64_t tiles_at_once(const Job *job) {
    int64_t side = job->points > 1 ? job->dilation : 1;
    return side < TILES ? TILES / side * side : side;
}

/* Floats that one thread works in. */
int64_t room_for(const Job *job) {
    int64_t tiles = tiles_at_once(job);
    int64_t spread = tiles + (job->pieces - 1) * job->dilation + ROWS;
    return job->points * (spread * job->dim + (tiles + ROWS) * PANEL) + job->dim;
}

static inline float leaky(float x, float slope) { return x > x * slope ? x : x * slope; }

/* The input of `tiles` tiles from step t of the outputs on, evaluated at every point: out [points, plane]. */
static void spread(const Job *job, int64_t t, int64_t tiles, float *restrict out, int64_t plane, const float *zeros) {
    int64_t dim = job->dim, d = job->dilation, size = job->points > 1 ? POINTS : 1;
    float slope = job->slope;
    for (int64_t n = 0; n < tiles; n++, out += dim) {
        int64_t step = t - job->before + (size > 1 ? n / d * OUTPUTS * d + n % d : n);
        const float *row[POINTS];
        for (int64_t k = 0; k < size; k++, step += d)
            row[k] = step >= job->first && step < job->stop ? job->x + (step - job->first) * dim : zeros;
        if (size == 1) {
            const float *restrict x = row[0];
            for (int64_t c = 0; c < dim; c++) out[c] = leaky(x[c], slope);
            continue;
        }
        #pragma GCC ivdep
        for (int64_t c = 0; c < dim; c++) {
            float x[POINTS];
            #pragma GCC unroll 8
            for (int k = 0; k < POINTS; k++) x[k] = leaky(row[k][c], slope);
            #pragma GCC unroll 8
            for (int p = 0; p < POINTS; p++) {
                float sum = 0;
                #pragma GCC unroll 8
                for (int k = 0; k < POINTS; k++) sum += INPUTS[p][k] * x[k];
                out[p * plane + c] = sum;
            }
        }
    }
}

/* out [ROWS, PANEL]: rows x [ROWS, dim] times weight [pieces, dim, PANEL], a piece's rows `shift` rows further on. */
static void multiply(const float *x, int64_t dim, int64_t pieces, int64_t shift, const float *restrict weight,
                     float *restrict out) {
    vec sum[ROWS][2];
    #pragma GCC unroll 16
    for (int r = 0; r < ROWS; r++) sum[r][0] = sum[r][1] = (vec){0};
    for (int64_t piece = 0; piece < pieces; piece++) {
        const float *at[ROWS / 3];          /* every third row: the two behind it are one and two widths away */
        #pragma GCC unroll 4
        for (int r = 0; r < ROWS / 3; r++) at[r] = x + (piece * shift + 3 * r) * dim;
        for (int64_t c = 0; c < dim; c++, weight += PANEL) {
            __builtin_prefetch(weight + AHEAD);
            __builtin_prefetch(weight + AHEAD + LANES);
            vec left = *(const vec *)weight, right = *(const vec *)(weight + LANES);
            #pragma GCC unroll 16
            for (int r = 0; r < ROWS; r++) {
                float value = at[r / 3][r % 3 * dim + c];
                sum[r][0] += value * left;
                sum[r][1] += value * right;
            }
        }
    }
    #pragma GCC unroll 16
    for (int r = 0; r < ROWS; r++) {
        *(vec *)(out + r * PANEL) = sum[r][0];
        *(vec *)(out + r * PANEL + LANES) = sum[r][1];
    }
}

/* One row of outputs from column `column` on. */
static void put(const Job *job, int64_t step, int64_t column, int64_t width, const float *restrict value) {
    const float *restrict bias = job->bias + column;
    int64_t place = (step - job->start) * job->out_dim + column;
    float *restrict y = job->y + place;
    if (job->add && job->onto) {
        const float *restrict add = job->add + place;
        for (int64_t c = 0; c < width; c++) y[c] += value[c] + bias[c] + add[c];
    } else if (job->add) {
        const float *restrict add = job->add + place;
        for (int64_t c = 0; c < width; c++) y[c] = value[c] + bias[c] + add[c];
    } else if (job->onto) {
        for (int64_t c = 0; c < width; c++) y[c] += value[c] + bias[c];
    } else {
        for (int64_t c = 0; c < width; c++) y[c] = value[c] + bias[c];
    }
}

/* Products [points, plane] of `tiles` tiles → outputs from step t on. */
static void gather(const Job *job, int64_t t, int64_t tiles, int64_t column, const float *restrict made,
                   int64_t plane) {
    int64_t d = job->dilation, width = job->out_dim - column < PANEL ? job->out_dim - column : PANEL;
    for (int64_t n = 0; n < tiles; n++, made += PANEL) {
        if (job->points == 1) {
            if (t + n < job->end) put(job, t + n, column, width, made);
            continue;
        }
        float out[OUTPUTS][PANEL];
        for (int64_t c = 0; c < PANEL; c++) {
            #pragma GCC unroll 8
            for (int i = 0; i < OUTPUTS; i++) {
                float sum = 0;
                #pragma GCC unroll 8
                for (int p = 0; p < POINTS; p++) sum += PRODUCTS[i][p] * made[p * plane + c];
                out[i][c] = sum;
            }
        }
        int64_t step = t + n / d * OUTPUTS * d + n % d;
        for (int i = 0; i < OUTPUTS && step < job->end; i++, step += d) put(job, step, column, width, out[i]);
    }
}

/* The share of one thread of a job. */
static void work(const Job *job, float *memory, int64_t thread, int64_t threads) {
    int64_t dim = job->dim, d = job->dilation, tall = job->points > 1 ? OUTPUTS * d : 1, side = job->points > 1 ? d : 1;
    int64_t groups = (job->end - job->start + tall - 1) / tall, at_once = tiles_at_once(job) / side;
    int64_t end = groups * (thread + 1) / threads, later = (job->pieces - 1) * d;
    float *zeros = memory, *points = memory + dim;
    memset(zeros, 0, dim * sizeof(float));
    for (int64_t low = groups * thread / threads; low < end; low += at_once) {
        int64_t high = low + at_once < end ? low + at_once : end;
        int64_t tiles = (high - low) * side, t = job->start + low * tall;
        int64_t plane = (tiles + later + ROWS) * dim, made_plane = (tiles + ROWS) * PANEL;
        float *made = points + job->points * plane;
        spread(job, t, tiles + later, points, plane, zeros);
        const float *weight = job->weight;
        for (int64_t column = 0; column < job->out_dim; column += PANEL) {
            for (int64_t p = 0; p < job->points; p++, weight += job->pieces * dim * PANEL)
                for (int64_t n = 0; n < tiles; n += ROWS)
                    multiply(points + p * plane + n * dim, dim, job->pieces, d, weight,
                             made + p * made_plane + n * PANEL);
            gather(job, t, tiles, column, made, made_plane);
        }
    }
}

typedef struct { const Job *jobs; float *memory; int64_t count, room; atomic_int size, arrived, phase; } Team;
typedef struct { Team *team; int64_t thread; } Member;

static void wait_for_all(Team *team) {
    int phase = atomic_load(&team->phase);
    if (atomic_fetch_add(&team->arrived, 1) + 1 == atomic_load(&team->size)) {
        atomic_store(&team->arrived, 0);
        atomic_store(&team->phase, phase + 1);
    } else {
        for (int turn = 0; atomic_load(&team->phase) == phase; turn++) if (turn > 1000) sched_yield();
    }
}

static void *member(void *given) {
    const Member *own = given;
    Team *team = own->team;
    while (!atomic_load(&team->size)) sched_yield();
    for (int64_t number = 0; number < team->count; number++) {
        work(team->jobs + number, team->memory + own->thread * team->room, own->thread, team->size);
        if (number + 1 < team->count && team->size > 1) wait_for_all(team);
    }
    return NULL;
}

/* All jobs, one after the other, each shared by up to `threads` threads; memory has `room` floats for each of them. */
void run(const Job *jobs, int64_t count, float *memory, int64_t room, int64_t threads) {
    Team team = {jobs, memory, count, room, 0, 0, 0};
    Member members[MOST_THREADS];
    pthread_t started[MOST_THREADS];
    int size = 1;
    for (; size < threads && size < MOST_THREADS; size++) {
        members[size] = (Member){&team, size};
        if (pthread_create(started + size, NULL, member, members + size)) break;   /* fewer do it as well */
    }
    atomic_store(&team.size, size);
    members[0] = (Member){&team, 0};
    member(members);
    for (int thread = 1; thread < size; thread++) pthread_join(started[thread], NULL);
}
"""


class Job(ctypes.Structure):
    """`Job` of the C source."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("x", "weight", "bias", "add", "y")),
        *((name, ctypes.c_int64) for name in ("first", "stop", "before", "start", "end", "dim", "out_dim")),
        *((name, ctypes.c_int64) for name in ("pieces", "dilation", "points", "onto")),
        ("slope", ctypes.c_float),
    ]


def _source() -> str:
    """The C source with its matrices."""

    def rows(matrix: _Matrix) -> str:
        lines = (", ".join(f"{float(value)!r}f" for value in row) for row in matrix)
        return ", ".join(f"{{{line}}}" for line in lines)

    inputs, _, outputs = _matrices()
    return (
        f"enum {{ POINTS = {len(inputs)}, OUTPUTS = {len(outputs)} }};\n"
        f"static const float INPUTS[{len(inputs)}][{len(inputs)}] = {{{rows(inputs)}}};\n"
        f"static const float PRODUCTS[{len(outputs)}][{len(inputs)}] = {{{rows(outputs)}}};\n{_SOURCE}"
    )


class Kernel:
    """The built kernel. `panel` outputs are made at a time: weights lie in memory that way."""

    def __init__(self, built: ctypes.CDLL) -> None:
        for name in ("panel_size", "room_for"):
            getattr(built, name).restype = ctypes.c_int64
        built.run.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64]
        built.run.restype = None
        self.built = built
        self.panel: int = built.panel_size()


@lru_cache
def kernel() -> Kernel | None:
    """The kernel, or None where it cannot be built."""
    built = library(_source())
    return None if built is None else Kernel(built)


@lru_cache
def taps_matrix() -> Tensor:
    """What is applied to the taps of a piece [P, taps], in float64."""
    return torch.tensor([[float(value) for value in row] for row in _matrices()[1]], dtype=torch.float64)


class Workshop:
    """Where jobs are done: the memory of its threads (0: as many as torch uses). For one user at a time."""

    def __init__(self, kernel: Kernel, num_threads: int = 0) -> None:
        self.kernel, self.num_threads = kernel, num_threads or torch.get_num_threads()
        self._memory = torch.zeros(0)

    def run(self, jobs: Sequence[Job]) -> None:
        """Do the jobs one after the other, each by all threads."""
        if not jobs:
            return
        room = max(self.kernel.built.room_for(ctypes.byref(job)) for job in jobs)
        if room * self.num_threads > len(self._memory):
            self._memory = torch.zeros(room * self.num_threads)
        array = (Job * len(jobs))(*jobs)
        self.kernel.built.run(array, len(jobs), self._memory.data_ptr(), room, self.num_threads)
