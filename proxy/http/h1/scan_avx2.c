#include "proxy/http/h1/scan.h"

#ifdef __x86_64__
#include <immintrin.h>

#define AVX2   __attribute__((target("avx2,bmi")))
#define INLINE static inline __attribute__((always_inline, target("avx2,bmi")))

enum { WIDTH = 32 };

/* The 32 bytes from `at`, or, near the end, the last 32 that there are; *back says how far they begin before
 * `at`. A mask made of them is shifted right by that, which leaves zeros for what lies past the end. */
INLINE __m256i load(const char *at, const char *end, unsigned *back)
{
    const char *last = end - WIDTH;
    const char *from = at <= last ? at : last;
    *back = (unsigned)(at - from);
    return _mm256_loadu_si256((const __m256i *)(const void *)from);
}

INLINE uint32_t mask_of(__m256i hits)
{
    return (uint32_t)_mm256_movemask_epi8(hits);
}

/* Not BYTE_TEXT: below 0x20 but HTAB, or DEL. */
INLINE uint32_t not_text(__m256i x)
{
    __m256i low = _mm256_cmpeq_epi8(_mm256_min_epu8(x, _mm256_set1_epi8(0x1F)), x);
    __m256i tab = _mm256_cmpeq_epi8(x, _mm256_set1_epi8('\t'));
    __m256i del = _mm256_cmpeq_epi8(x, _mm256_set1_epi8(0x7F));
    return mask_of(_mm256_or_si256(_mm256_andnot_si256(tab, low), del));
}

/* Not BYTE_TARGET: SP and below, 0x80 and above (negative here), DEL, "#". */
INLINE uint32_t not_target(__m256i x)
{
    __m256i above = _mm256_cmpgt_epi8(x, _mm256_set1_epi8(0x20));
    __m256i del = _mm256_cmpeq_epi8(x, _mm256_set1_epi8(0x7F));
    __m256i hash = _mm256_cmpeq_epi8(x, _mm256_set1_epi8('#'));
    return mask_of(_mm256_andnot_si256(_mm256_or_si256(del, hash), above)) ^ UINT32_MAX;
}

/* Not BYTE_TOKEN: rows[low half of the byte] has bit r set when (r << 4 | low half) is a tchar; bits[high
 * half] picks that bit. A byte of 0x80 and above finds a zero in both. */
INLINE uint32_t not_token(__m256i x)
{
    const __m256i rows = _mm256_setr_epi8(
        (char)0xE8, (char)0xFC, (char)0xF8, (char)0xFC, (char)0xFC, (char)0xFC, (char)0xFC, (char)0xFC,
        (char)0xF8, (char)0xF8, (char)0xF4, 0x54, (char)0xD0, 0x54, (char)0xF4, 0x70, (char)0xE8, (char)0xFC,
        (char)0xF8, (char)0xFC, (char)0xFC, (char)0xFC, (char)0xFC, (char)0xFC, (char)0xF8, (char)0xF8,
        (char)0xF4, 0x54, (char)0xD0, 0x54, (char)0xF4, 0x70);
    const __m256i bits = _mm256_setr_epi8(1, 2, 4, 8, 16, 32, 64, (char)128, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4,
                                          8, 16, 32, 64, (char)128, 0, 0, 0, 0, 0, 0, 0, 0);
    __m256i high = _mm256_and_si256(_mm256_srli_epi16(x, 4), _mm256_set1_epi8(0x0F));
    __m256i hit = _mm256_and_si256(_mm256_shuffle_epi8(rows, x), _mm256_shuffle_epi8(bits, high));
    return mask_of(_mm256_cmpeq_epi8(hit, _mm256_setzero_si256()));
}

AVX2 static const char *scan_text(const char *begin, const char *at, const char *end)
{
    if (end - begin < WIDTH)
        return h1_scan_scalar.text(begin, at, end);
    for (; at < end; at += WIDTH) {
        unsigned back;
        uint32_t stop = not_text(load(at, end, &back)) >> back;
        if (stop)
            return at + __builtin_ctz(stop);
    }
    return end;
}

AVX2 static const char *scan_target(const char *begin, const char *at, const char *end, const char **question)
{
    if (end - begin < WIDTH)
        return h1_scan_scalar.target(begin, at, end, question);

    const char *found = NULL;
    for (; at < end; at += WIDTH) {
        unsigned back;
        __m256i x = load(at, end, &back);
        uint32_t stop = not_target(x) >> back;
        uint32_t mark = mask_of(_mm256_cmpeq_epi8(x, _mm256_set1_epi8('?'))) >> back;
        if (mark && !found)
            found = at + __builtin_ctz(mark);
        if (stop) {
            at += __builtin_ctz(stop);
            *question = found && found < at ? found : at;
            return at;
        }
    }
    *question = found ? found : end;
    return end;
}

/* As the scalar one. The first 32 bytes of a line give its colon and, if it is short, its end, too. */
AVX2 static const char *scan_fields(const char *begin, const char *at, const char *end, struct fields *out,
                                    uint32_t max)
{
    if (end - begin < WIDTH)
        return h1_scan_scalar.fields(begin, at, end, out, max);

    while (out->count < max && at < end) {
        unsigned back;
        __m256i x = load(at, end, &back);
        uint32_t name_stop = not_token(x) >> back;
        uint32_t text_stop = not_text(x) >> back; /* none before the colon: what ends text is no tchar */

        const char *colon = at;
        const char *eol = at;
        if (LIKELY(name_stop)) {
            colon += __builtin_ctz(name_stop);
        } else {
            do { /* a long name, or the end */
                colon += WIDTH;
                if (colon >= end)
                    return at;
                name_stop = not_token(load(colon, end, &back)) >> back;
            } while (!name_stop);
            colon += __builtin_ctz(name_stop);
            eol = colon;
            text_stop = not_text(load(eol, end, &back)) >> back;
        }
        if (*colon != ':' || colon == at)
            return at;

        while (!text_stop) {
            eol += WIDTH;
            if (eol >= end)
                return at;
            text_stop = not_text(load(eol, end, &back)) >> back;
        }
        eol += __builtin_ctz(text_stop);
        if (UNLIKELY(end - eol < 2 || eol[0] != '\r' || eol[1] != '\n'))
            return at;

        h1_field_add(out, at, colon, eol);
        at = eol + 2;
    }
    return at;
}

const struct h1_scanner h1_scan_avx2 = {scan_text, scan_target, scan_fields};
#endif
