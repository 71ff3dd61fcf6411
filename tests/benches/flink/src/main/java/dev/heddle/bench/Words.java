package dev.heddle.bench;

import java.util.HashSet;

/**
 * The input of the word count jobs: a table of lines of ten words, built once
 * and cycled. The Rust jobs build the same table from the same numbers (see
 * tests/benches/README.md), so both sides count the same words.
 */
final class Words {
    static final int WORDS_A_LINE = 10;
    private static final long SEED = 0x4EDD1EL;

    private Words() {}

    static String[] lines(int keys, boolean longWords) {
        String[] words = longWords ? longWords(keys) : shortWords(keys);
        int lines = Math.max(4000, keys / WORDS_A_LINE);
        int[] positions = new int[lines * WORDS_A_LINE];
        for (int i = 0; i < positions.length; i++) {
            positions[i] = i % keys;
        }
        SplitMix random = new SplitMix(SEED);
        for (int i = positions.length - 1; i > 0; i--) {
            int j = random.below(i + 1);
            int swapped = positions[i];
            positions[i] = positions[j];
            positions[j] = swapped;
        }
        String[] table = new String[lines];
        StringBuilder line = new StringBuilder();
        for (int i = 0; i < lines; i++) {
            line.setLength(0);
            for (int w = 0; w < WORDS_A_LINE; w++) {
                if (w > 0) {
                    line.append(' ');
                }
                line.append(words[positions[i * WORDS_A_LINE + w]]);
            }
            table[i] = line.toString();
        }
        return table;
    }

    private static String[] shortWords(int keys) {
        String[] words = new String[keys];
        for (int i = 0; i < keys; i++) {
            words[i] = "w" + i;
        }
        return words;
    }

    /** Distinct words of 4 to 14 letters. */
    private static String[] longWords(int keys) {
        SplitMix random = new SplitMix(SEED + 1);
        HashSet<String> seen = new HashSet<>();
        String[] words = new String[keys];
        int made = 0;
        while (made < keys) {
            char[] letters = new char[4 + random.below(11)];
            for (int i = 0; i < letters.length; i++) {
                letters[i] = (char) ('a' + random.below(26));
            }
            String word = new String(letters);
            if (seen.add(word)) {
                words[made++] = word;
            }
        }
        return words;
    }

    /** Steele, Lea, Flood: Fast splittable pseudorandom number generators. */
    static final class SplitMix {
        private long state;

        SplitMix(long seed) {
            state = seed;
        }

        long next() {
            state += 0x9E3779B97F4A7C15L;
            return mix(state);
        }

        static long mix(long z) {
            z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
            z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
            return z ^ (z >>> 31);
        }

        /** A number from 0 to {@code bound} - 1; the bias is below 2^-32. */
        int below(int bound) {
            return below(next(), bound);
        }

        static int below(long random, int bound) {
            return (int) (((random >>> 32) * bound) >>> 32);
        }
    }
}
