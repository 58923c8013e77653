/* The element-wise operations between the matmuls of a decoder layer, each over memory once (compiled_ops.py compiles and
   calls them, torch_ops.py has the same in torch). Plain C: the compiler vectorizes the inner loops. bf16 is the upper half
   of a float; sums and exponentials are in float. Arrays are dense, sizes in elements; one thread works on whole rows. */
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t bf16;
typedef int64_t size;

static inline float up(bf16 x) { uint32_t i = (uint32_t)x << 16; float f; memcpy(&f, &i, 4); return f; }
static inline bf16 down(float f) { uint32_t i; memcpy(&i, &f, 4); return (bf16)((i + 0x7fff + ((i >> 16) & 1)) >> 16); }

/* exp to 2e-7, for x in (-87, 88): 2^n times a polynomial on (-ln2/2, ln2/2) */
static inline float exponential(float x) {
    x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    float n = rintf(x * 1.44269504f), r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.0f + r * (1.0f + r * (0.5f + r * (0.166666655f + r * (0.0416664985f + r * (0.00833345205f + r * 0.00139819994f)))));
    uint32_t i = (uint32_t)((int32_t)n + 127) << 23; float scale; memcpy(&scale, &i, 4);
    return p * scale;
}

/* sum = x + extra (extra may be null, sum may be x), also as bf16; y = sum / rms(sum) * weight; inverse[row] = 1 / rms */
void add_rms(const float *x, const bf16 *extra, const bf16 *weight, float eps, float *sum, bf16 *y, bf16 *sum16, float *inverse, size rows, size d) {
#pragma omp parallel for schedule(static)
    for (size m = 0; m < rows; m++) {
        const float *a = x + m * d; float *s = sum + m * d; bf16 *o = y + m * d, *s16 = sum16 + m * d; float total = 0;
        if (extra) { const bf16 *e = extra + m * d; for (size i = 0; i < d; i++) { float v = a[i] + up(e[i]); s[i] = v; total += v * v; } }
        else for (size i = 0; i < d; i++) { float v = a[i]; s[i] = v; total += v * v; }
        float r = 1.0f / sqrtf(total / d + eps); inverse[m] = r;
        for (size i = 0; i < d; i++) { s16[i] = down(s[i]); o[i] = down(s[i] * r * up(weight[i])); }
    }
}

/* y = x * inverse * weight */
void norm(const bf16 *x, const float *inverse, const bf16 *weight, bf16 *y, size rows, size d) {
#pragma omp parallel for schedule(static)
    for (size m = 0; m < rows; m++) {
        const bf16 *a = x + m * d; bf16 *o = y + m * d; float r = inverse[m];
        for (size i = 0; i < d; i++) o[i] = down(up(a[i]) * r * up(weight[i]));
    }
}

/* dx = residual + the norm's own gradient; also as bf16 for the next product */
void rms_backward(const bf16 *dy, const float *residual, const bf16 *x, const float *inverse, const bf16 *weight,
                  float *dx, bf16 *dx16, size rows, size d) {
#pragma omp parallel for schedule(static)
    for (size m = 0; m < rows; m++) {
        const bf16 *g = dy + m * d, *a = x + m * d; const float *res = residual + m * d; float *o = dx + m * d; bf16 *o16 = dx16 + m * d;
        float r = inverse[m], along = 0;
        for (size i = 0; i < d; i++) along += up(g[i]) * up(weight[i]) * up(a[i]);
        along *= r * r / d;
        for (size i = 0; i < d; i++) { float v = res[i] + r * (up(g[i]) * up(weight[i]) - up(a[i]) * along); o[i] = v; o16[i] = down(v); }
    }
}

/* gate_up (rows, 2f) -> inner (rows, f) = silu(gate) * up */
void swiglu(const bf16 *gate_up, bf16 *inner, size rows, size f) {
#pragma omp parallel for schedule(static)
    for (size m = 0; m < rows; m++) {
        const bf16 *g = gate_up + 2 * m * f, *u = g + f; bf16 *o = inner + m * f;
        for (size i = 0; i < f; i++) { float a = up(g[i]); o[i] = down(a / (1.0f + exponential(-a)) * up(u[i])); }
    }
}

void swiglu_backward(const bf16 *dinner, const bf16 *gate_up, bf16 *dgate_up, size rows, size f) {
#pragma omp parallel for schedule(static)
    for (size m = 0; m < rows; m++) {
        const bf16 *g = gate_up + 2 * m * f, *u = g + f, *d = dinner + m * f; bf16 *og = dgate_up + 2 * m * f, *ou = og + f;
        for (size i = 0; i < f; i++) {
            float a = up(g[i]), s = 1.0f / (1.0f + exponential(-a)), v = up(d[i]);
            ou[i] = down(v * a * s);
            og[i] = down(v * up(u[i]) * s * (1.0f + a * (1.0f - s)));
        }
    }
}

/* scores (batch*k, m*g, n) float of m queries from `first` on -> p bf16: softmax over keys start[b][q] .. q of the first n,
   zero elsewhere */
void softmax(const float *scores, const int32_t *start, bf16 *p, size batch, size k, size g, size t, size first, size m, size n) {
#pragma omp parallel for schedule(static)
    for (size row = 0; row < batch * k * m * g; row++) {
        size q = first + row / g % m, b = row / (k * m * g), low = start[b * t + q]; const float *s = scores + row * n; bf16 *o = p + row * n;
        float top = s[low], total = 0, e[n];
        for (size i = low; i <= q; i++) top = s[i] > top ? s[i] : top;
        for (size i = low; i <= q; i++) { e[i] = exponential(s[i] - top); total += e[i]; }
        total = 1.0f / total;
        memset(o, 0, low * sizeof(bf16)); memset(o + q + 1, 0, (n - q - 1) * sizeof(bf16));
        for (size i = low; i <= q; i++) o[i] = down(e[i] * total);
    }
}

/* dscores = p * (dp - sum(p * dp)) */
void softmax_backward(const float *dp, const bf16 *p, const int32_t *start, bf16 *dscores, size batch, size k, size g, size t, size first, size m, size n) {
#pragma omp parallel for schedule(static)
    for (size row = 0; row < batch * k * m * g; row++) {
        size q = first + row / g % m, b = row / (k * m * g), low = start[b * t + q]; const float *d = dp + row * n; const bf16 *a = p + row * n; bf16 *o = dscores + row * n;
        float along = 0;
        for (size i = low; i <= q; i++) along += up(a[i]) * d[i];
        memset(o, 0, low * sizeof(bf16)); memset(o + q + 1, 0, (n - q - 1) * sizeof(bf16));
        for (size i = low; i <= q; i++) o[i] = down(up(a[i]) * (d[i] - along));
    }
}

/* qkv (b, t, n, h) with n = heads + 2k -> q (b, k, t, heads/k, h) rotated and scaled, key (b, k, t, h) rotated, value (b, k, t, h);
   cos, sin (b or 1, t, h): `stride` is t * h or 0. backward: the way back, turning the other way. */
static inline void turn(const bf16 *x, bf16 *o, const float *c, const float *s, size h, float scale, float sign) {
    size half = h / 2;
    for (size i = 0; i < half; i++) {
        float a = up(x[i]), b = up(x[i + half]);
        o[i] = down((a * c[i] - sign * b * s[i]) * scale);
        o[i + half] = down((b * c[i + half] + sign * a * s[i + half]) * scale);
    }
}
void heads(bf16 *qkv, bf16 *q, bf16 *key, bf16 *value, const float *cos, const float *sin, size stride, float scale,
           size batch, size t, size nq, size k, size h, size backward) {
    size n = nq + 2 * k, g = nq / k;
#pragma omp parallel for schedule(static)
    for (size m = 0; m < batch * t; m++) {
        size b = m / t, p = m % t; const float *c = cos + b * stride + p * h, *s = sin + b * stride + p * h;
        for (size j = 0; j < n; j++) {
            bf16 *x = qkv + (m * n + j) * h;
            bf16 *o = j < nq ? q + (((b * k + j / g) * t + p) * g + j % g) * h : j < nq + k ? key + ((b * k + j - nq) * t + p) * h : value + ((b * k + j - nq - k) * t + p) * h;
            float by = j < nq ? scale : 1.0f;
            if (j >= nq + k) memcpy(backward ? x : o, backward ? o : x, h * sizeof(bf16));
            else if (backward) turn(o, x, c, s, h, by, -1.0f);
            else turn(x, o, c, s, h, by, 1.0f);
        }
    }
}

/* e = exp(logits) in place, total[row] = sum of e */
void exponentials(bf16 *logits, float *total, size rows, size n) {
#pragma omp parallel for schedule(static)
    for (size m = 0; m < rows; m++) {
        bf16 *l = logits + m * n; float sum = 0;
        for (size i = 0; i < n; i++) { float e = exponential(up(l[i])); sum += e; l[i] = down(e); }
        total[m] = sum;
    }
}
